// Whether this processor has the instruction sets that ggml's kernels were compiled
// for. This file is compiled without them, and asks before any kernel runs.
#include "internal.h"

#include <csignal>
#include <cstring>
#include <string>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

extern "C" const char * const ag_needed_instructions; // needed.cpp, compiled as the kernels are

namespace {

#if defined(__x86_64__)
bool has(const std::string & name) {
    // __builtin_cpu_supports takes literals only. It knows what the system saves, too.
#define KNOWN(feature) if (name == feature) return __builtin_cpu_supports(feature)
    KNOWN("sse3");
    KNOWN("ssse3");
    KNOWN("sse4.1");
    KNOWN("sse4.2");
    KNOWN("avx");
    KNOWN("avx2");
    KNOWN("fma");
    KNOWN("bmi");
    KNOWN("bmi2");
    KNOWN("avx512f");
    KNOWN("avx512bw");
    KNOWN("avx512cd");
    KNOWN("avx512dq");
    KNOWN("avx512vl");
    KNOWN("avx512vbmi");
    KNOWN("avx512vnni");
    KNOWN("avx512bf16");
#undef KNOWN
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (name == "f16c") {
        return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    }
    if (name == "avxvnni") {
        return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4));
    }
    return true; // AMX: ggml asks the system itself, and does without
}
#endif

std::string missing() {
    std::string out;
#if defined(__x86_64__)
    __builtin_cpu_init();
    std::string word;
    for (const char * p = ag_needed_instructions;; p++) {
        if (*p && *p != ' ') {
            word += *p;
            continue;
        }
        if (!word.empty() && !has(word)) {
            out += (out.empty() ? "" : " ") + word;
        }
        word.clear();
        if (!*p) {
            break;
        }
    }
#endif
    return out;
}

#ifdef __linux__
// Before main, initialisers of the kernels' files may trap; later errors are told properly.
void on_early_trap(int) {
    static const char text[] = "agent: error: this binary was compiled for a processor with more instruction sets than this one has\n"
                               "agent: hint: build it here (`make agent`), or use the portable package\n";
    (void) !write(2, text, sizeof text - 1);
    _exit(5);
}

__attribute__((constructor(102))) void catch_early_traps() {
    if (!missing().empty()) {
        signal(SIGILL, on_early_trap);
    }
}
#endif

} // namespace

int ag_instructions(ag_buf * needed, ag_buf * lacking, ag_buf * err) {
    return ag_guarded(err, [&] {
        ag_set(needed, ag_needed_instructions);
        ag_set(lacking, missing());
        return int(AG_OK);
    });
}

void ag_die_by_signal(void) {
#if defined(__unix__) || defined(__APPLE__)
    for (const int s : {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGABRT}) {
        signal(s, SIG_DFL);
    }
#endif
}
