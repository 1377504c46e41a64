/* Compiles one CUDA source with the NVRTC DLL it is told, on Windows: nvrtc_compile DLL SOURCE NAME OPTIONS CUBIN
   OPTIONS is a file with one option a line, so that no shell and no command line has a say in them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

typedef int (*create_t)(void** program, const char* source, const char* name, int headers, const char**, const char**);
typedef int (*compile_t)(void* program, int count, const char** options);
typedef int (*size_of_t)(void* program, size_t* size);
typedef int (*get_t)(void* program, char* into);
typedef int (*version_t)(int* major, int* minor);

static HMODULE library;

static void* function(const char* name) {
  void* found = (void*)GetProcAddress(library, name);
  if (!found) {
    fprintf(stderr, "the DLL has no %s\n", name);
    exit(3);
  }
  return found;
}

static char* read_text(const char* path) {
  FILE* file = fopen(path, "rb");
  if (!file) {
    fprintf(stderr, "%s cannot be read\n", path);
    exit(4);
  }
  fseek(file, 0, SEEK_END);
  size_t size = (size_t)ftell(file);
  rewind(file);
  char* text = calloc(size + 1, 1);
  if (fread(text, 1, size, file) != size) exit(4);
  fclose(file);
  return text;
}

static char* fetch(void* program, const char* size_name, const char* get_name, size_t* size) {
  if (((size_of_t)function(size_name))(program, size)) return NULL;
  char* data = calloc(*size + 1, 1);
  return ((get_t)function(get_name))(program, data) ? NULL : data;
}

int main(int count, char** word) {
  if (count != 6) return 2;
  char folder[4096]; /* its builtins lie beside it, and it loads them by their bare name */
  char* file_part = NULL;
  DWORD length = GetFullPathNameA(word[1], sizeof folder, folder, &file_part);
  if (length == 0 || length >= sizeof folder || !file_part) return 2;
  file_part[-1] = 0;
  SetDllDirectoryA(folder);
  library = LoadLibraryA(word[1]);
  if (!library) {
    fprintf(stderr, "%s cannot be loaded: error %lu\n", word[1], GetLastError());
    return 3;
  }
  const char* options[64];
  int n_options = 0;
  for (char* line = strtok(read_text(word[4]), "\n"); line && n_options < 64; line = strtok(NULL, "\n")) options[n_options++] = line;
  int major = 0, minor = 0;
  ((version_t)function("nvrtcVersion"))(&major, &minor);
  printf("NVRTC %d.%d\n", major, minor);
  void* program = NULL;
  int failed = ((create_t)function("nvrtcCreateProgram"))(&program, read_text(word[2]), word[3], 0, NULL, NULL);
  if (!failed) failed = ((compile_t)function("nvrtcCompileProgram"))(program, n_options, options);
  size_t size = 0;
  if (failed) {
    char* log = program ? fetch(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog", &size) : NULL;
    fprintf(stderr, "NVRTC error %d\n%s\n", failed, log ? log : "");
    return 5;
  }
  char* cubin = fetch(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN", &size);
  FILE* file = cubin ? fopen(word[5], "wb") : NULL;
  if (!file || fwrite(cubin, 1, size, file) != size || fclose(file)) {
    fprintf(stderr, "no cubin was written to %s\n", word[5]);
    return 6;
  }
  return 0;
}
