// Sampling. Order as llama.cpp's own chain has it: biases, penalties, grammar,
// top-k, top-p, min-p, temperature, draw.
//
// Two things are done differently, for speed. The candidate list is made of
// the top-k logits alone, found by threshold, instead of a struct per token of
// the vocabulary. And a grammar checks the token that was drawn; only when it
// refuses are further candidates looked at, best first, and the whole
// vocabulary only when that can't settle it.
#include "grammar.h"
#include "internal.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <stdexcept>

namespace {

constexpr float neg_inf = -std::numeric_limits<float>::infinity();

// The largest number; -inf when there is none: damaged weights give NaN, and no comparison with
// that is true. Compilers keep the order of one running maximum, since NaN might be among the
// numbers; sixteen of them become vectors.
float maximum(const float * x, int32_t n) {
    float part[16];
    std::fill(std::begin(part), std::end(part), neg_inf);
    int32_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int j = 0; j < 16; j++) {
            part[j] = x[i + j] > part[j] ? x[i + j] : part[j];
        }
    }
    float best = neg_inf;
    for (; i < n; i++) {
        best = x[i] > best ? x[i] : best;
    }
    for (float v : part) {
        best = v > best ? v : best;
    }
    return best;
}

// The index of the largest number; -1 when there is none.
int32_t arg_max(const float * x, int32_t n) {
    const float best = maximum(x, n);
    if (!std::isfinite(best)) {
        return -1;
    }
    for (int32_t i = 0; i < n; i++) {
        if (x[i] == best) {
            return i;
        }
    }
    return -1;
}

// exp for x <= 0, polynomial of degree 6 on [-ln2/2, ln2/2]; relative error
// below 2e-7 (measured against std::exp), and it vectorises.
inline float exp_neg(float x) {
    x = x < -87.0f ? -87.0f : x;
    const float z = x * 1.44269504088896341f;
    const float r = __builtin_rintf(z);
    const float f = (x - r * 0.693145751953125f) - r * 1.42860682030941723e-6f;
    float p = 1.0f / 720.0f;
    p = p * f + 1.0f / 120.0f;
    p = p * f + 1.0f / 24.0f;
    p = p * f + 1.0f / 6.0f;
    p = p * f + 0.5f;
    p = p * f + 1.0f;
    p = p * f + 1.0f;
    const int32_t e = (int32_t(r) + 127) << 23;
    float scale;
    std::memcpy(&scale, &e, sizeof scale);
    return p * scale;
}

bool by_logit(const llama_token_data & a, const llama_token_data & b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// The k best logits, best first. Empty when there is no number among them.
void top_k(const float * logits, int32_t n, int32_t k, std::vector<llama_token_data> & out) {
    out.clear();
    k = std::min(k, n);
    // A threshold from block maxima: at least k entries are >= the k-th best
    // block maximum, so nothing below it can be among the k best.
    constexpr int32_t block = 64;
    const int32_t n_blocks = (n + block - 1) / block;
    float threshold = neg_inf;
    if (n_blocks > k) {
        std::vector<float> maxima(n_blocks);
        for (int32_t b = 0; b < n_blocks; b++) {
            maxima[b] = maximum(logits + b * block, std::min(block, n - b * block));
        }
        std::nth_element(maxima.begin(), maxima.begin() + (k - 1), maxima.end(),
            std::greater<float>());
        threshold = maxima[k - 1];
    }
    for (int32_t i = 0; i < n; i++) {
        if (logits[i] >= threshold) {
            out.push_back({i, logits[i], 0.0f});
        }
    }
    if ((int32_t) out.size() > k) {
        std::nth_element(out.begin(), out.begin() + (k - 1), out.end(), by_logit);
        out.resize(k);
    }
    std::sort(out.begin(), out.end(), by_logit);
    if (out.empty() || !std::isfinite(out[0].logit)) {
        out.clear();
    }
}

void drop_refused(ag_grammar & grammar, std::vector<llama_token_data> & c) {
    c.erase(std::remove_if(c.begin(), c.end(),
        [&](const llama_token_data & d) { return !grammar.allowed(d.id); }), c.end());
}

// Top-p, min-p, temperature and the draw, over candidates sorted best first.
llama_token draw(std::vector<llama_token_data> & c, const ag_sampler_params & p,
    std::mt19937 & rng) {
    const float best = c[0].logit;
    double sum = 0;
    for (auto & d : c) {
        d.p = std::exp(d.logit - best);
        sum += d.p;
    }
    size_t keep = c.size();
    if (p.top_p < 1.0f) {
        double cum = 0;
        for (size_t i = 0; i < keep; i++) {
            cum += c[i].p / sum;
            if (cum >= p.top_p) {
                keep = i + 1;
                break;
            }
        }
    }
    if (p.min_p > 0.0f) { // c[i].p is relative to the best already
        while (keep > 1 && c[keep - 1].p < p.min_p) {
            keep--;
        }
    }
    double total = 0;
    for (size_t i = 0; i < keep; i++) {
        c[i].p = std::exp((c[i].logit - best) / p.temperature);
        total += c[i].p;
    }
    double x = std::uniform_real_distribution<double>(0.0, total)(rng);
    for (size_t i = 0; i < keep; i++) {
        x -= c[i].p;
        if (x < 0) {
            return c[i].id;
        }
    }
    return c[keep - 1].id;
}

} // namespace

double ag_log_sum_exp(const float * logits, int32_t n) {
    const float best = maximum(logits, n);
    if (!(best > neg_inf)) {
        return neg_inf;
    }
    // Partial sums of 1024 keep float rounding small; each vectorises.
    double sum = 0;
    for (int32_t at = 0; at < n; at += 1024) {
        const int32_t end = std::min(n, at + 1024);
        float part[16] = {0};
        int32_t i = at;
        for (; i + 16 <= end; i += 16) {
            for (int j = 0; j < 16; j++) {
                part[j] += exp_neg(logits[i + j] - best);
            }
        }
        for (; i < end; i++) {
            sum += exp_neg(logits[i] - best);
        }
        for (float v : part) {
            sum += v;
        }
    }
    return double(best) + std::log(sum);
}

ag_sampler::~ag_sampler() {
    ag_live_objects--;
}

void ag_sampler::accept(llama_token id, bool grammar_too) {
    if (params.repeat_penalty != 1.0f && params.repeat_last_n > 0) {
        if (recent.size() < size_t(params.repeat_last_n)) {
            recent.push_back(id);
        } else {
            recent[recent_at] = id;
            recent_at = (recent_at + 1) % recent.size();
        }
    }
    if (grammar_too && (params.frequency_penalty != 0.0f || params.presence_penalty != 0.0f)) {
        drawn[id]++;
    }
    if (grammar && grammar_too && !ended) {
        if (!grammar->accept(id)) {
            throw std::runtime_error("token is not allowed by the grammar");
        }
        ended = llama_vocab_is_eog(model->vocab, id);
    }
}

ag_sampler::ag_sampler() = default;

void ag_sampler::sample(float * logits, int32_t n_vocab, ag_sample & out) {
    try {
        draw_token(logits, n_vocab, out);
    } catch (const ag_grammar_budget &) { // one reply's end, not the tick's
        out.token = AG_TOKEN_BUDGET;
    }
    for (auto & s : saved) {
        logits[s.first] = s.second;
    }
    saved.clear();
}

// Biases and penalties; what the logits were is kept in saved.
void ag_sampler::change(float * logits, int32_t n_vocab) {
    for (const auto & b : biases) {
        if (b.first >= 0 && b.first < n_vocab) {
            saved.emplace(b.first, logits[b.first]);
            logits[b.first] += b.second;
        }
    }
    if (params.repeat_penalty != 1.0f) {
        for (llama_token id : std::set<llama_token>(recent.begin(), recent.end())) {
            if (id >= 0 && id < n_vocab) {
                saved.emplace(id, logits[id]);
                logits[id] = logits[id] <= 0 ? logits[id] * params.repeat_penalty : logits[id] / params.repeat_penalty;
            }
        }
    }
    for (const auto & d : drawn) {
        saved.emplace(d.first, logits[d.first]);
        logits[d.first] -= params.frequency_penalty * float(d.second) + params.presence_penalty;
    }
}

void ag_sampler::draw_token(float * logits, int32_t n_vocab, ag_sample & out) {
    out.token = AG_TOKEN_NONE;
    out.is_end = 0;
    out.n_top = 0;
    out.logprob = std::numeric_limits<float>::quiet_NaN();

    const bool report = params.logprobs || params.top_logprobs > 0;
    double norm = 0;
    std::vector<llama_token_data> rivals;
    if (report) { // of the model's own distribution, before anything is changed
        norm = ag_log_sum_exp(logits, n_vocab);
        if (params.top_logprobs > 0) {
            top_k(logits, n_vocab, std::min(params.top_logprobs, 20), rivals);
        }
    }

    change(logits, n_vocab);

    const bool greedy = params.temperature <= 0.0f;
    const int32_t k = params.top_k <= 0 || params.top_k > n_vocab ? n_vocab : params.top_k;

    llama_token id = -1;
    if (greedy) {
        id = arg_max(logits, n_vocab);
    } else {
        top_k(logits, n_vocab, k, candidates);
        id = candidates.empty() ? -1 : draw(candidates, params, rng);
    }
    const bool numbers = id >= 0;
    if (grammar) {
        grammar->next_token();
    }

    if (numbers && grammar && !grammar->allowed(id)) {
        id = -1;
        // Widen step by step. A step settles it when the survivors are enough
        // to know what the rules would keep of the whole vocabulary.
        for (int32_t wide = std::max(256, 4 * std::min(k, 1024)); id < 0; wide *= 16) {
            const bool whole = wide >= n_vocab;
            top_k(logits, n_vocab, whole ? n_vocab : wide, candidates);
            const float floor = candidates.back().logit; // all others are at most this
            drop_refused(*grammar, candidates);
            if (!candidates.empty()) {
                const bool enough = greedy || int32_t(candidates.size()) >= k ||
                    (params.min_p > 0.0f && std::exp(floor - candidates[0].logit) < params.min_p);
                if (whole || enough) {
                    if (int32_t(candidates.size()) > k) {
                        candidates.resize(k);
                    }
                    id = greedy ? candidates[0].id : draw(candidates, params, rng);
                }
            }
            if (whole) {
                break;
            }
        }
    }

    if (id < 0) { // or the grammar allows nothing any more
        out.token = numbers ? AG_TOKEN_NONE : AG_TOKEN_NO_NUMBER;
        return;
    }
    out.token = id;
    out.is_end = llama_vocab_is_eog(model->vocab, id) ? 1 : 0;
    if (report) {
        const auto was = saved.find(id);
        out.logprob = float((was != saved.end() ? was->second : logits[id]) - norm);
        for (auto & r : rivals) {
            out.top_ids[out.n_top] = r.id;
            out.top_logprobs[out.n_top] = float(r.logit - norm);
            out.n_top++;
        }
    }
    accept(id, true);
}
