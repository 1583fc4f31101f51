// Grammars while decoding. llama.cpp's parser reads them; following one is done
// here, because its own way looks at all stacks of each character of each token
// again, without a limit, and can't be stopped: one reply under `^(.?){500}$`
// held the whole server.
//
// A stack is a number: that of its top and of the stack below, so that equal
// ones are one. A state is a set of stacks; what a character makes of a state is
// remembered. Only new steps count as work, and work has a budget.
#pragma once

#include "internal.h"

#include "llama-grammar.h"
#include "llama-vocab.h"

#include <stdexcept>
#include <unordered_map>

// Thrown when the budget of a token or of the whole reply is spent.
struct ag_grammar_budget : std::runtime_error {
    ag_grammar_budget() : std::runtime_error("following the grammar takes too much work") {}
};

class ag_grammar {
  public:
    // Null, with a line in the log, when text is no grammar with a rule "root".
    static std::unique_ptr<ag_grammar> parse(const llama_vocab * vocab, const char * text);

    bool allowed(llama_token id);
    // Whether a token is allowed; it becomes part of the text if so.
    bool accept(llama_token id);
    // Adds to what the reply may cost, before each token.
    void next_token();

  private:
    using element = llama_grammar_element;
    struct stack {
        const element * top;
        int32_t below;
    };
    struct state {
        std::vector<int32_t> stacks; // sorted; terminals on top, or the empty stack
        std::vector<int32_t> ascii;  // states after a character; -1: not known
    };
    struct position {
        int32_t state;
        llama_partial_utf8 partial;
    };

    ag_grammar(const llama_vocab * v, llama_grammar_parser && p) : vocab(v), parser(std::move(p)) {}

    void start(uint32_t root);
    void forget();
    void spend(size_t n);
    int32_t push(int32_t below, const element * top);
    void expand(int32_t from);
    int32_t intern();
    int32_t step(int32_t from, uint32_t chr);
    int32_t compute(int32_t from, uint32_t chr);
    bool text(const std::string & piece, position & at);
    bool fits(int32_t at, const llama_partial_utf8 & partial);
    bool token(llama_token id, position & at);

    struct pair_hash {
        size_t operator()(const std::pair<const element *, int32_t> & p) const {
            return std::hash<const void *>()(p.first) * 31 +
                size_t(p.second) * 0x9e3779b97f4a7c15ull;
        }
    };
    struct list_hash {
        size_t operator()(const std::vector<int32_t> & v) const {
            size_t h = v.size();
            for (int32_t x : v) {
                h = (h ^ size_t(x)) * 0x100000001b3ull;
            }
            return h;
        }
    };

    const llama_vocab * vocab;
    llama_grammar_parser parser; // its rules stay where they are
    std::vector<std::vector<const element *>> alternatives; // of each rule
    bool has_tokens = false;

    std::vector<stack> stacks; // 0 is the empty one
    std::vector<uint32_t> seen; // the round in which a stack was expanded last
    uint32_t round = 0;
    std::unordered_map<std::pair<const element *, int32_t>, int32_t, pair_hash> stack_ids;
    std::vector<state> states; // 0 has no stacks: a dead end
    std::unordered_map<std::vector<int32_t>, int32_t, list_hash> state_ids;
    std::unordered_map<uint64_t, int32_t> after; // a state and a character beyond ASCII
    size_t members = 0; // of all states

    std::vector<int32_t> todo, found; // scratch
    position now{0, {0, 0}};
    int64_t left_token = 0, left = 0;
};
