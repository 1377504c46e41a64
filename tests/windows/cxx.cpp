// The compiler as a Windows program in the stage sees it. It hands its command to tests/windows/relay.py, which runs the mingw
// compiler of the machine outside, and waits for the answer. VERSION and RELAY (a folder) are set when this file is compiled.
#include <chrono>
#include <cstdio>
#include <cwchar>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include <process.h>

namespace fs = std::filesystem;

int wmain(int argc, wchar_t** argv) {
    if (argc == 2 && std::wcscmp(argv[1], L"--version") == 0) {
        std::puts(VERSION);
        return 0;
    }
    // The ids of processes are given again: the first free name is ours.
    fs::path request;
    for (int i = 0;; ++i) {
        request = fs::path(RELAY) / (std::to_string(_getpid()) + "-" + std::to_string(i));
        if (fs::create_directory(request))
            break;
    }
    {
        std::ofstream words(request / "words.part", std::ios::binary);
        words << fs::current_path().u8string() << '\n';
        for (int i = 1; i < argc; ++i)
            words << fs::path(argv[i]).u8string() << '\n'; // UTF-8, whatever this Windows' code page is
    }
    fs::rename(request / "words.part", request / "words");
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(150);
    while (!fs::exists(request / "reply")) {
        if (std::chrono::steady_clock::now() > until) {
            std::fputs("nobody outside answers\n", stderr);
            return 1;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    std::ifstream reply(request / "reply", std::ios::binary);
    int code = 1;
    reply >> code;
    std::stringstream said;
    said << reply.rdbuf();
    std::fputs(said.str().c_str(), stderr);
    return code;
}
