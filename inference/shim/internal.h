// What the shim's translation units share. Not part of the ABI.
#pragma once

#include "shim.h"

#include "llama.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

extern std::atomic<int64_t> ag_live_objects;

// The last error line that llama.cpp logged, for messages; taking it clears it.
std::string ag_take_last_log();

void ag_set(ag_buf * b, const std::string & s);

// Runs f; turns whatever it throws into a code and a message.
template <typename F> int ag_guarded(ag_buf * err, F && f) {
    try {
        return f();
    } catch (const std::bad_alloc &) {
        ag_set(err, "out of memory");
    } catch (const std::exception & e) {
        ag_set(err, e.what());
    } catch (...) {
        ag_set(err, "unknown C++ exception");
    }
    return AG_ERR;
}

// The self-test found that weights in this buffer type are computed wrongly here.
bool ag_is_disabled(const char * buffer_type);

struct ag_model {
    llama_model * model = nullptr;
    const llama_vocab * vocab = nullptr;
    ~ag_model();
};

struct ag_context {
    ag_model * parent = nullptr;
    llama_context * ctx = nullptr;
    std::atomic<bool> abort{false};
    std::vector<llama_token> tokens;
    std::vector<llama_pos> positions;
    std::vector<int32_t> n_seq_id;
    std::vector<llama_seq_id *> seq_ids;
    std::vector<int8_t> outputs;
    uint32_t n_embd = 0;
    ~ag_context();
};

class ag_grammar; // see grammar.h

struct ag_sampler {
    const ag_model * model = nullptr;
    ag_sampler_params params{};
    std::unique_ptr<ag_grammar> grammar; // nullptr: none
    std::mt19937 rng;
    std::vector<llama_token> recent; // ring of the last repeat_last_n tokens
    size_t recent_at = 0;
    std::vector<llama_token_data> candidates;  // reused between ticks
    std::vector<std::pair<llama_token, float>> biases;
    std::map<llama_token, int32_t> drawn;             // how often each token stands in the reply
    std::map<llama_token, float> saved;               // logits that were changed
    bool ended = false;
    ag_sampler();
    ~ag_sampler();

    // Draws the next token from logits[n_vocab]; logits are left as they were.
    void sample(float * logits, int32_t n_vocab, ag_sample & out);
    void accept(llama_token id, bool grammar_too);

  private:
    void change(float * logits, int32_t n_vocab);
    void draw_token(float * logits, int32_t n_vocab, ag_sample & out);
};

// log(sum(exp(logits))), the normaliser of one row.
double ag_log_sum_exp(const float * logits, int32_t n);
