// Does this compiler load the whole AMX tile configuration? The assembler's
// macro stands for ldtilecfg and copies the 64 bytes it would read, so the probe
// runs on any x86-64. Exit status: 0 all bytes are there, 1 some were lost.
#include <cstdint>
#include <immintrin.h>

extern "C" {
alignas(64) unsigned char loaded[64];
alignas(16) unsigned char saved[16];
}

__asm__(
    ".macro ldtilecfg at:vararg\n"
    " movups %xmm0, saved(%rip)\n"
    " movups \\at, %xmm0\n movups %xmm0, loaded(%rip)\n"
    " movups 16+\\at, %xmm0\n movups %xmm0, loaded+16(%rip)\n"
    " movups 32+\\at, %xmm0\n movups %xmm0, loaded+32(%rip)\n"
    " movups 48+\\at, %xmm0\n movups %xmm0, loaded+48(%rip)\n"
    " movups saved(%rip), %xmm0\n"
    ".endm\n");

struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t columns[16];
    uint8_t rows[16];
};

static inline void load_config() {
    alignas(64) tile_config c = {};
    c.palette = 1;
    c.rows[0] = 8;  c.columns[0] = 64;
    c.rows[1] = 8;  c.columns[1] = 64;
    c.rows[2] = 16; c.columns[2] = 32;
    c.rows[3] = 16; c.columns[3] = 32;
    _tile_loadconfig(&c);
}

int main() {
    load_config();
    const auto * c = reinterpret_cast<const tile_config *>(loaded);
    const bool whole = c->palette == 1 && c->rows[0] == 8 && c->rows[3] == 16 &&
        c->columns[1] == 64 && c->columns[2] == 32;
    return whole ? 0 : 1;
}
