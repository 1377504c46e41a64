// Every Windows 10 has this DLL and wine 8 has not. Rust's standard library, and so pydantic, takes its random numbers from it.
#include <windows.h>

#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(unsigned char* data, SIZE_T size) { return RtlGenRandom(data, (ULONG)size); }
