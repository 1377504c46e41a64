"""Writes down which address a fatal access touched, before the process dies of it. Needs the machine's C++ compiler, once.

Python's faulthandler says where in Python; the address says which tensor, and how far beside it. The handler only writes to a file
that is open already, puts back what was there before it and returns: the same instruction then faults again, for faulthandler.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from sim3solve import build, compiler

SOURCE = r"""
#include <signal.h>
#include <unistd.h>
#if defined(__linux__)
#include <ucontext.h>
#endif
namespace {
int file = -1;
struct sigaction old_segv, old_bus;
void number(char*& at, unsigned long long value) {
  char digits[24];
  int n = 0;
  do digits[n++] = "0123456789abcdef"[value & 15]; while (value >>= 4);
  while (n) *at++ = digits[--n];
  *at++ = ' ';
}
void handler(int signal, siginfo_t* info, void* context) {
  unsigned long long direction = 0;  // 1 read, 2 write, 0 not known
#if defined(__linux__) && defined(__x86_64__)
  direction = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR] & 2 ? 2 : 1;
#else
  (void)context;
#endif
  char line[128], *at = line;
  number(at, static_cast<unsigned long long>(signal));
  number(at, static_cast<unsigned long long>(info->si_code));
  number(at, reinterpret_cast<unsigned long long>(info->si_addr));
  number(at, direction);
  *at++ = '\n';
  if (write(file, line, static_cast<unsigned long>(at - line)) < 0) file = -1;
  sigaction(SIGSEGV, &old_segv, nullptr);
  sigaction(SIGBUS, &old_bus, nullptr);
}
}  // namespace
extern "C" __attribute__((visibility("default"))) int sim3solve_watch(int descriptor) {
  file = descriptor;
  struct sigaction mine = {};
  mine.sa_sigaction = handler;
  mine.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  return sigaction(SIGSEGV, &mine, &old_segv) | sigaction(SIGBUS, &mine, &old_bus);
}
"""


def watch(file: Path) -> str:
    """Write the address of a fatal access to ``file`` from now on. Returns why that cannot be had, or nothing.

    Windows needs none of it: ctypes says the address in an exception.
    """
    if sys.platform == "win32":
        return ""
    try:
        library = ctypes.CDLL(str(compiler.shared_library(SOURCE)))
    except (compiler.CompilerMissing, build.BuildError, OSError) as error:
        return f"which address a fatal access touches is not known: {error}"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    if library.sim3solve_watch(descriptor) != 0:
        return "which address a fatal access touches is not known: no signal handler can be set"
    return ""
