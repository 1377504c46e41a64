#include "device.h"

#include <cstdlib>
#include <cstring>

#ifdef _WIN32
#include <windows.h>
#else
#include <sys/mman.h>
#endif

namespace {

struct Pages {
    void* start = nullptr;
    unsigned long long bytes = 0;
};

struct Kernel {
    void* host_function = nullptr;
    DeviceCode code = nullptr;
};

constexpr int max_allocations = 16, max_kernels = 4;
Pages allocations[max_allocations];
Kernel kernels[max_kernels];

void protect(const Pages& pages, bool forbid) {
    if (pages.start == nullptr) {
        return;
    }
#ifdef _WIN32
    DWORD before = 0;
    const bool done = VirtualProtect(pages.start, pages.bytes, forbid ? PAGE_NOACCESS : PAGE_READWRITE, &before) != 0;
#else
    const bool done = mprotect(pages.start, pages.bytes, forbid ? PROT_NONE : PROT_READ | PROT_WRITE) == 0;
#endif
    if (!done) {
        std::abort();
    }
}

void protect_all(bool forbid) {
    for (const Pages& pages : allocations) {
        protect(pages, forbid);
    }
}

} // namespace

void* device_allocate(unsigned long long bytes) {
    bytes = bytes == 0 ? 1 : bytes;
    for (Pages& pages : allocations) {
        if (pages.start == nullptr) {
#ifdef _WIN32
            pages = {VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_NOACCESS), bytes};
#else
            void* start = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            pages = {start == MAP_FAILED ? nullptr : start, bytes};
#endif
            return pages.start;
        }
    }
    return nullptr;
}

void device_free(void* memory, unsigned long long) {
    for (Pages& pages : allocations) {
        if (pages.start != nullptr && pages.start == memory) {
#ifdef _WIN32
            VirtualFree(pages.start, 0, MEM_RELEASE);
#else
            munmap(pages.start, pages.bytes);
#endif
            pages = {};
        }
    }
}

void device_copy(void* to, const void* from, unsigned long long bytes) {
    protect_all(false);
    std::memcpy(to, from, bytes);
    protect_all(true);
}

bool __cudaRegisterFunction(void* host_function, DeviceCode code) {
    for (Kernel& kernel : kernels) {
        if (kernel.host_function == nullptr) {
            kernel = {host_function, code};
            return true;
        }
    }
    return false;
}

void __cudaLaunchKernel(void* host_function, void** arguments) {
    for (const Kernel& kernel : kernels) {
        if (kernel.host_function == host_function) {
            protect_all(false); // the device may touch its memory
            kernel.code(arguments);
            protect_all(true);
            return;
        }
    }
    std::abort();
}
