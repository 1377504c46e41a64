// A device for machines without one: its memory lies in pages that the host may not touch, as that of a GPU does.
#pragma once

#if defined(_WIN32)
#define HIDDEN
#else
#define HIDDEN __attribute__((visibility("hidden"))) // not to be taken for the CUDA runtime's by another library
#endif

using DeviceCode = void (*)(void** arguments);

// Memory that only device code and device_copy reach. nullptr when there is none.
HIDDEN void* device_allocate(unsigned long long bytes);
HIDDEN void device_free(void* memory, unsigned long long bytes);

// Between host and device, either way.
HIDDEN void device_copy(void* to, const void* from, unsigned long long bytes);

// As the CUDA runtime does: a kernel is known by the address of its host function.
extern "C" HIDDEN bool __cudaRegisterFunction(void* host_function, DeviceCode code);
extern "C" HIDDEN void __cudaLaunchKernel(void* host_function, void** arguments);
