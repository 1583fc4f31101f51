#include "grammar.h"

#include <algorithm>

namespace {

// Work is counted in stacks and elements looked at, some 20 to 50 ns each. A
// usual grammar takes a few hundred for a token, and one with a thousand ways
// open a few thousand. The whole reply may do what a burst and a share for each
// token allow, so that those who compute beside it are not held up.
constexpr int64_t work_token_max = 1 << 20;
constexpr int64_t work_burst     = 1 << 22;
constexpr int64_t work_share     = 1 << 15;

constexpr size_t stacks_open_max = 1 << 13; // of one state
// What is remembered, some 100 MiB at the most; then all but the present is forgotten.
constexpr size_t stacks_max  = 1 << 20;
constexpr size_t members_max = 1 << 22;
constexpr size_t states_max  = 1 << 15;
constexpr size_t after_max   = 1 << 19;

bool at_end(const llama_grammar_element * pos) {
    return pos->type == LLAMA_GRETYPE_END || pos->type == LLAMA_GRETYPE_ALT;
}

bool is_token(const llama_grammar_element * pos) {
    return pos->type == LLAMA_GRETYPE_TOKEN || pos->type == LLAMA_GRETYPE_TOKEN_NOT;
}

// One range of a class, and the element after it.
struct range {
    uint32_t low, high;
    const llama_grammar_element * next;
};

range range_at(const llama_grammar_element * pos) {
    if (pos[1].type == LLAMA_GRETYPE_CHAR_RNG_UPPER) {
        return {pos->value, pos[1].value, pos + 2};
    }
    if (pos->type == LLAMA_GRETYPE_CHAR_ANY) {
        return {0, UINT32_MAX, pos + 1};
    }
    return {pos->value, pos->value, pos + 1};
}

// Whether the class at pos has a character of [low, high], or for a class of
// exceptions, one that is none of them; next is what follows the class.
bool match(const llama_grammar_element * pos, uint32_t low, uint32_t high,
    const llama_grammar_element ** next) {
    const bool exceptions = pos->type == LLAMA_GRETYPE_CHAR_NOT;
    bool found = false;
    do {
        const range r = range_at(pos);
        found = found ||
            (exceptions ? r.low <= low && high <= r.high : r.low <= high && low <= r.high);
        pos = r.next;
    } while (pos->type == LLAMA_GRETYPE_CHAR_ALT);
    *next = pos;
    return found != exceptions;
}

} // namespace

std::unique_ptr<ag_grammar> ag_grammar::parse(const llama_vocab * vocab, const char * text) {
    llama_grammar_parser parser(vocab);
    if (!parser.parse(text) || parser.rules.empty()) {
        return nullptr;
    }
    const auto root = parser.symbol_ids.find("root");
    if (root == parser.symbol_ids.end()) {
        return nullptr;
    }
    const uint32_t id = root->second;
    std::unique_ptr<ag_grammar> g(new ag_grammar(vocab, std::move(parser)));
    g->start(id);
    return g;
}

void ag_grammar::start(uint32_t root) {
    alternatives.resize(parser.rules.size());
    for (size_t i = 0; i < parser.rules.size(); i++) {
        const element * pos = parser.rules[i].data();
        alternatives[i].push_back(pos);
        for (; pos->type != LLAMA_GRETYPE_END; pos++) {
            if (pos->type == LLAMA_GRETYPE_ALT) {
                alternatives[i].push_back(pos + 1);
            }
            has_tokens = has_tokens || is_token(pos);
        }
    }
    left = left_token = work_burst;
    stacks.push_back({nullptr, -1});
    seen.push_back(0);
    states.emplace_back();
    round++;
    found.clear();
    for (const element * pos : alternatives[root]) {
        expand(at_end(pos) ? 0 : push(0, pos));
    }
    now.state = intern();
}

void ag_grammar::next_token() {
    left = std::min(left + work_share, work_burst);
    left_token = std::min(left, work_token_max);
    if (stacks.size() > stacks_max / 2 || members > members_max / 2 ||
        states.size() > states_max / 2 || after.size() > after_max / 2) {
        forget();
    }
}

// forget keeps the present state only, with the stacks that it stands on.
void ag_grammar::forget() {
    const std::vector<stack> old = std::move(stacks);
    const std::vector<int32_t> kept = std::move(states[now.state].stacks);
    stacks = {{nullptr, -1}};
    seen = {0};
    round = 1;
    stack_ids.clear();
    states.clear();
    states.emplace_back();
    state_ids.clear();
    after.clear();
    members = 0;
    std::unordered_map<int32_t, int32_t> copies = {{0, 0}};
    found.clear();
    for (int32_t id : kept) {
        todo.clear();
        for (; copies.find(id) == copies.end(); id = old[id].below) {
            todo.push_back(id);
        }
        int32_t copy = copies[id];
        for (; !todo.empty(); todo.pop_back()) {
            copy = copies[todo.back()] = push(copy, old[todo.back()].top);
        }
        found.push_back(copy);
    }
    now.state = intern();
}

void ag_grammar::spend(size_t n) {
    left -= int64_t(n);
    left_token -= int64_t(n);
    if (left < 0 || left_token < 0) {
        throw ag_grammar_budget();
    }
}

int32_t ag_grammar::push(int32_t below, const element * top) {
    const auto [it, fresh] = stack_ids.try_emplace({top, below}, int32_t(stacks.size()));
    if (fresh) {
        if (stacks.size() >= stacks_max) {
            throw ag_grammar_budget();
        }
        stacks.push_back({top, below});
        seen.push_back(0);
    }
    return it->second;
}

// expand adds to found what a stack becomes when the rules on its top are
// replaced by their alternatives, until terminals are on top.
void ag_grammar::expand(int32_t from) {
    todo.assign(1, from);
    while (!todo.empty()) {
        const int32_t id = todo.back();
        todo.pop_back();
        if (seen[id] == round) {
            continue;
        }
        seen[id] = round;
        spend(1);
        const stack s = stacks[id];
        if (id == 0 || s.top->type != LLAMA_GRETYPE_RULE_REF) {
            found.push_back(id);
            continue;
        }
        const int32_t rest = at_end(s.top + 1) ? s.below : push(s.below, s.top + 1);
        spend(alternatives[s.top->value].size());
        for (const element * pos : alternatives[s.top->value]) {
            todo.push_back(at_end(pos) ? rest : push(rest, pos));
        }
    }
}

// intern is the number of the state with the stacks in found.
int32_t ag_grammar::intern() {
    if (found.empty()) {
        return 0;
    }
    if (found.size() > stacks_open_max) {
        throw ag_grammar_budget();
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    const auto [it, fresh] = state_ids.try_emplace(found, int32_t(states.size()));
    if (fresh) {
        members += found.size();
        if (states.size() >= states_max || members > members_max) {
            throw ag_grammar_budget();
        }
        states.push_back({found, std::vector<int32_t>(128, -1)});
    }
    return it->second;
}

// step is the state after one more character.
int32_t ag_grammar::step(int32_t from, uint32_t chr) {
    if (from == 0) {
        return 0;
    }
    if (chr < 128) {
        const int32_t known = states[from].ascii[chr];
        if (known >= 0) {
            return known;
        }
        const int32_t to = compute(from, chr);
        return states[from].ascii[chr] = to;
    }
    const uint64_t key = uint64_t(from) << 32 | chr;
    const auto it = after.find(key);
    if (it != after.end()) {
        return it->second;
    }
    if (after.size() >= after_max) {
        throw ag_grammar_budget();
    }
    const int32_t to = compute(from, chr);
    return after[key] = to;
}

int32_t ag_grammar::compute(int32_t from, uint32_t chr) {
    round++;
    found.clear();
    for (size_t i = 0; i < states[from].stacks.size(); i++) {
        const stack s = stacks[states[from].stacks[i]];
        if (!s.top || is_token(s.top)) {
            continue;
        }
        const element * next;
        const bool matches = match(s.top, chr, chr, &next);
        spend(size_t(next - s.top));
        if (matches) {
            expand(at_end(next) ? s.below : push(s.below, next));
        }
    }
    return intern();
}

// text moves at past the characters of a piece; false: they are not allowed.
bool ag_grammar::text(const std::string & piece, position & at) {
    uint32_t value = at.partial.value;
    int remain = at.partial.n_remain;
    for (const char c : piece) {
        const uint8_t byte = uint8_t(c);
        if (remain > 0) {
            if (byte >> 6 != 2) {
                return false;
            }
            value = value << 6 | (byte & 0x3f);
            remain--;
        } else if (byte < 0x80) {
            value = byte;
        } else if (byte >= 0xc0 && byte < 0xf8) {
            remain = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
            value = byte & (0x3f >> remain);
        } else {
            return false;
        }
        if (remain > 0) {
            continue;
        }
        if (value == 0 || (at.state = step(at.state, value)) == 0) {
            return false;
        }
        value = 0;
    }
    at.partial = {value, remain};
    return remain == 0 || fits(at.state, at.partial);
}

// fits: some character that begins like this is allowed.
bool ag_grammar::fits(int32_t at, const llama_partial_utf8 & partial) {
    if (partial.n_remain == 1 && partial.value < 2) {
        return false; // an ASCII character in two bytes
    }
    uint32_t low = partial.value << (partial.n_remain * 6);
    const uint32_t high = low | ((1u << (partial.n_remain * 6)) - 1);
    if (low == 0) {
        low = partial.n_remain == 2 ? 1u << 11 : 1u << 16;
    }
    for (const int32_t id : states[at].stacks) {
        const element * top = stacks[id].top;
        const element * next;
        if (top && !is_token(top) && match(top, low, high, &next)) {
            return true;
        }
    }
    return false;
}

// token moves at past a token; false: it is not allowed.
bool ag_grammar::token(llama_token id, position & at) {
    if (vocab->is_eog(id)) {
        const auto & open = states[at.state].stacks;
        return at.partial.n_remain == 0 && !open.empty() && open[0] == 0;
    }
    const std::string & piece = vocab->token_to_piece(id);
    if (piece.empty()) {
        return false;
    }
    const int32_t from = at.state;
    const bool allowed = text(piece, at);
    if (!has_tokens) {
        return allowed;
    }
    round++;
    found.clear();
    for (size_t i = 0; i < states[from].stacks.size(); i++) {
        const stack s = stacks[states[from].stacks[i]];
        if (s.top && is_token(s.top) && (s.top->value == uint32_t(id)) == (s.top->type == LLAMA_GRETYPE_TOKEN)) {
            expand(at_end(s.top + 1) ? s.below : push(s.below, s.top + 1));
        }
    }
    if (found.empty()) {
        return allowed;
    }
    if (allowed) {
        found.insert(found.end(), states[at.state].stacks.begin(), states[at.state].stacks.end());
    } else {
        at.partial = {0, 0};
    }
    at.state = intern();
    return true;
}

bool ag_grammar::allowed(llama_token id) {
    position at = now;
    return token(id, at);
}

bool ag_grammar::accept(llama_token id) {
    position at = now;
    if (!token(id, at)) {
        return false;
    }
    now = at;
    return true;
}
