/* Included before ggml-cpu/amx/mmq.cpp where the compiler is GCC.
 *
 * GCC's _tile_loadconfig tells the optimiser that it reads 8 bytes of the tile
 * configuration, not 64. The stores of the tiles' rows and columns are then dead
 * to it, and the first tile load traps (SIGILL). Showing the pointer to an empty
 * asm that may read all memory keeps every store. */
#ifndef AGENT_AMX_GUARD_H
#define AGENT_AMX_GUARD_H
#if defined(__AMX_TILE__)
#include <immintrin.h>

static inline __attribute__((always_inline)) void agent_tile_loadconfig(const void *config) {
    __asm__ volatile("" : : "r"(config) : "memory");
    _tile_loadconfig(config);
}
#define _tile_loadconfig agent_tile_loadconfig
#endif
#endif
