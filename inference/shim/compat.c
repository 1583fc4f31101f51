// What GCC's static C++ library asks of a newer glibc than packages link with
// (2.31). Hidden, so that no other library of the process sees it.
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

// glibc 2.32 sets it while there is one thread. Never, then.
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;

// glibc 2.36 has it; std::random_device calls it.
__attribute__((visibility("hidden"))) uint32_t arc4random(void) {
    uint32_t n;
    if (getrandom(&n, sizeof n, 0) != sizeof n) {
        abort();
    }
    return n;
}
