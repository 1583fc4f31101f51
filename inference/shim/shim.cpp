// The C ABI of shim.h over llama.h. Each function is a thin, checked crossing;
// decisions live in Go.
#include "grammar.h"
#include "internal.h"

#include "ggml-backend.h"
#include "jinja/caps.h"
#include "jinja/lexer.h"
#include "jinja/parser.h"
#include "jinja/runtime.h"
#include "jinja/value.h"
#include "json-schema-to-grammar.h"
#include "json.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#ifdef __linux__
#include <sched.h>
#endif

using json = common_json;

extern "C" const int AG_ABI = 1;

std::atomic<int64_t> ag_live_objects{0};

namespace {

std::mutex log_mutex;
std::string last_error_line;
int stderr_level = GGML_LOG_LEVEL_NONE;
std::string device_trouble; // the last error while devices were looked for

void on_log(ggml_log_level level, const char * text, void *) {
    const std::lock_guard<std::mutex> lock(log_mutex);
    if (level == GGML_LOG_LEVEL_ERROR && text && text[0] && text[0] != '\n') {
        last_error_line = text;
        while (!last_error_line.empty() && last_error_line.back() == '\n') {
            last_error_line.pop_back();
        }
    }
    if (stderr_level != GGML_LOG_LEVEL_NONE && level >= stderr_level) {
        fputs(text, stderr);
    }
}

int fail(ag_buf * err, const std::string & what) {
    const std::string log = ag_take_last_log();
    ag_set(err, log.empty() ? what : what + ": " + log);
    return AG_ERR;
}

std::string piece_of(const llama_vocab * vocab, llama_token id) {
    std::string s(64, '\0');
    int32_t n = llama_token_to_piece(vocab, id, s.data(), int32_t(s.size()), 0, true);
    if (n < 0) {
        s.resize(size_t(-n));
        n = llama_token_to_piece(vocab, id, s.data(), int32_t(s.size()), 0, true);
    }
    s.resize(size_t(n > 0 ? n : 0));
    return s;
}

} // namespace

std::string ag_take_last_log() {
    const std::lock_guard<std::mutex> lock(log_mutex);
    std::string out;
    out.swap(last_error_line);
    return out;
}

void ag_set(ag_buf * b, const std::string & s) {
    if (!b) {
        return;
    }
    std::free(b->data);
    b->data = static_cast<char *>(std::malloc(s.size() + 1));
    b->len = b->data ? s.size() : 0;
    if (b->data) {
        std::memcpy(b->data, s.data(), s.size());
        b->data[s.size()] = '\0';
    }
}

void ag_buf_free(ag_buf * b) {
    if (b) {
        std::free(b->data);
        b->data = nullptr;
        b->len = 0;
    }
}

int64_t ag_live(void) {
    return ag_live_objects.load();
}

// glibc raises its limits with the largest block ever freed, up to 64 MiB of free
// memory kept by each thread's arena, which malloc_trim doesn't give back but
// from the main one: tens of MiB per thread that ever loaded a model. Blocks as
// large as a row of logits still come from the arenas.
static void keep_little_freed_memory() {
#ifdef __GLIBC__
    mallopt(M_TRIM_THRESHOLD, 4 << 20);
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
#endif
}

// With OMP_PROC_BIND libgomp binds the first thread, and so all that it starts, to one core. It
// does so in a constructor of default priority, so the cores are read before.
#ifdef __linux__
static cpu_set_t cores_at_start;

__attribute__((constructor(101))) static void before_openmp() {
    sched_getaffinity(0, sizeof cores_at_start, &cores_at_start);
}
#endif

int32_t ag_cores(int32_t * ids, int32_t max) {
    int32_t n = 0;
#ifdef __linux__
    for (int32_t cpu = 0; cpu < CPU_SETSIZE && n < max; cpu++) {
        if (CPU_ISSET(cpu, &cores_at_start)) {
            ids[n++] = cpu;
        }
    }
#endif
    return n;
}

void ag_init(int log_level) {
    static std::once_flag once;
    {
        const std::lock_guard<std::mutex> lock(log_mutex);
        stderr_level = log_level;
    }
    std::call_once(once, [] {
        keep_little_freed_memory();
        llama_log_set(on_log, nullptr);
        ag_take_last_log();
        llama_backend_init();
        device_trouble = ag_take_last_log();
    });
}

int ag_add_rpc_server(const char * endpoint, ag_buf * err) {
    return ag_guarded(err, [&] {
        ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
        if (!rpc) {
            ag_set(err, "the archive was built without RPC");
            return AG_ERR;
        }
        using add_server = ggml_backend_reg_t (*)(const char *);
        auto add = reinterpret_cast<add_server>(ggml_backend_reg_get_proc_address(rpc,
            "ggml_backend_rpc_add_server"));
        ggml_backend_reg_t server = add ? add(endpoint) : nullptr;
        if (!server) {
            ag_set(err, "it offers no devices");
            return AG_ERR;
        }
        ggml_backend_register(server);
        return AG_OK;
    });
}

int ag_load_modules(const char * dir, ag_buf * err) {
    return ag_guarded(err, [&] {
        ggml_backend_load_all_from_path(dir);
        if (!ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)) {
            ag_set(err, "none of its libggml-cpu-*.so is for this processor and C library");
            return AG_ERR;
        }
        return AG_OK;
    });
}

int ag_system_info(ag_buf * out, ag_buf * err) {
    return ag_guarded(err, [&] {
        json devices = json::array();
        for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
            ggml_backend_dev_t dev = ggml_backend_dev_get(i);
            size_t free = 0, total = 0;
            ggml_backend_dev_memory(dev, &free, &total);
            const auto type = ggml_backend_dev_type(dev);
            json d = json::object();
            d["name"] = std::string(ggml_backend_dev_name(dev));
            d["description"] = std::string(ggml_backend_dev_description(dev));
            const bool gpu = type == GGML_BACKEND_DEVICE_TYPE_GPU ||
                type == GGML_BACKEND_DEVICE_TYPE_IGPU;
            d["accelerator"] = gpu && !ag_is_disabled(ggml_backend_buft_name(ggml_backend_dev_buffer_type(dev)));
            d["integrated"] = type == GGML_BACKEND_DEVICE_TYPE_IGPU;
            d["free_bytes"] = uint64_t(free);
            d["total_bytes"] = uint64_t(total);
            devices.push_back(d);
        }
        json info = json::object();
        info["devices"] = devices;
        info["trouble"] = device_trouble;
        info["features"] = std::string(llama_print_system_info());
        info["max_sequences"] = int64_t(llama_max_parallel_sequences());
        info["max_devices"] = int64_t(llama_max_devices());
        info["gpu_offload"] = llama_supports_gpu_offload();
        info["mmap"] = llama_supports_mmap();
        info["mlock"] = llama_supports_mlock();
        ag_set(out, info.dump_safe());
        return AG_OK;
    });
}

// ---------------------------------------------------------------- model

// A vocabulary is a hundred thousand small strings. Freed, they would stay with
// the arena of the thread that loaded them, and Go loads on many threads.
static void give_memory_back() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

ag_model::~ag_model() {
    if (model) {
        llama_model_free(model);
    }
    ag_live_objects--;
}

static bool on_progress(float done, void * data) {
    auto * p = static_cast<ag_progress *>(data);
    __atomic_store_n(&p->permille, int32_t(done * 1000.0f), __ATOMIC_RELAXED);
    return __atomic_load_n(&p->cancel, __ATOMIC_RELAXED) == 0;
}

int ag_model_load(const char * path, const ag_model_params * p, ag_progress * progress,
    ag_model ** out, ag_buf * err) {
    *out = nullptr;
    return ag_guarded(err, [&] {
        ag_take_last_log();
        llama_model_params mp = llama_model_default_params();
        mp.n_gpu_layers = p->gpu_layers;
        mp.load_mode = llama_load_mode(p->load_mode);
        mp.main_gpu = p->main_gpu;
        if (p->split_mode >= 0) {
            mp.split_mode = llama_split_mode(p->split_mode);
        }
        mp.tensor_split = p->tensor_split;
        std::vector<ggml_backend_dev_t> devices;
        for (int32_t i = 0; i < p->n_devices; i++) {
            if (p->devices[i] < 0 || size_t(p->devices[i]) >= ggml_backend_dev_count()) {
                throw std::out_of_range("there is no device " + std::to_string(p->devices[i]));
            }
            devices.push_back(ggml_backend_dev_get(size_t(p->devices[i])));
        }
        devices.push_back(nullptr);
        mp.devices = devices.data();
        std::vector<std::string> experts; // what the patterns point to
        std::vector<llama_model_tensor_buft_override> placed;
        for (int32_t i = 0; i < p->cpu_experts; i++) {
            experts.push_back("^blk\\." + std::to_string(i) +
                "\\.ffn_(up|down|gate|gate_up)_(ch|)exps");
        }
        for (const std::string & pattern : experts) {
            placed.push_back({ pattern.c_str(), ggml_backend_cpu_buffer_type() });
        }
        placed.push_back({ nullptr, nullptr });
        mp.tensor_buft_overrides = placed.data();
        mp.vocab_only = p->vocab_only;
        mp.check_tensors = p->check_tensors;
        if (progress) {
            mp.progress_callback = on_progress;
            mp.progress_callback_user_data = progress;
        }
        llama_model * model = llama_model_load_from_file(path, mp);
        if (!model) {
            give_memory_back();
            if (progress && __atomic_load_n(&progress->cancel, __ATOMIC_RELAXED)) {
                ag_set(err, "cancelled");
                return int(AG_ABORTED);
            }
            return fail(err, "llama.cpp refused the model");
        }
        auto m = std::make_unique<ag_model>();
        ag_live_objects++;
        m->model = model;
        m->vocab = llama_model_get_vocab(model);
        *out = m.release();
        return int(AG_OK);
    });
}

void ag_model_free(ag_model * m) {
    delete m;
    give_memory_back();
}

static std::string meta(const llama_model * m, const char * key) {
    std::vector<char> buf(256);
    int32_t n = llama_model_meta_val_str(m, key, buf.data(), buf.size());
    if (n < 0) {
        return "";
    }
    if (size_t(n) >= buf.size()) {
        buf.resize(size_t(n) + 1);
        llama_model_meta_val_str(m, key, buf.data(), buf.size());
    }
    return std::string(buf.data(), size_t(n));
}

int ag_model_info(const ag_model * m, ag_buf * out, ag_buf * err) {
    return ag_guarded(err, [&] {
        const llama_model * mod = m->model;
        const llama_vocab * v = m->vocab;
        json i = json::object();
        char desc[256] = {0};
        llama_model_desc(mod, desc, sizeof desc);
        const char * tmpl = llama_model_chat_template(mod, nullptr);
        i["description"] = std::string(desc);
        i["architecture"] = meta(mod, "general.architecture");
        i["name"] = meta(mod, "general.name");
        i["context_length"] = int64_t(llama_model_n_ctx_train(mod));
        i["layers"] = int64_t(llama_model_n_layer(mod));
        i["embedding_length"] = int64_t(llama_model_n_embd_out(mod));
        i["sliding_window"] = int64_t(llama_model_n_swa(mod));
        i["bytes"] = uint64_t(llama_model_size(mod));
        i["parameters"] = uint64_t(llama_model_n_params(mod));
        i["vocab_size"] = int64_t(llama_vocab_n_tokens(v));
        i["vocab_type"] = int64_t(llama_vocab_type(v));
        i["bos"] = int64_t(llama_vocab_bos(v));
        i["eos"] = int64_t(llama_vocab_eos(v));
        i["eot"] = int64_t(llama_vocab_eot(v));
        i["add_bos"] = llama_vocab_get_add_bos(v);
        i["add_eos"] = llama_vocab_get_add_eos(v);
        i["recurrent"] = llama_model_is_recurrent(mod);
        i["hybrid"] = llama_model_is_hybrid(mod);
        i["diffusion"] = llama_model_is_diffusion(mod);
        i["has_encoder"] = llama_model_has_encoder(mod);
        i["has_decoder"] = llama_model_has_decoder(mod);
        i["chat_template"] = std::string(tmpl ? tmpl : "");
        ag_set(out, i.dump_safe());
        return AG_OK;
    });
}

// ---------------------------------------------------------------- vocabulary

int32_t ag_tokenize(const ag_model * m, const char * text, size_t len, int flags, int32_t * out,
    int32_t cap, ag_buf * err) {
    int32_t n = 0;
    const int rc = ag_guarded(err, [&] {
        if (len > size_t(std::numeric_limits<int32_t>::max())) {
            throw std::length_error("text is longer than 2 GiB");
        }
        n = llama_tokenize(m->vocab, text, int32_t(len), out, cap, flags & AG_TOK_ADD_SPECIAL,
            flags & AG_TOK_PARSE_SPECIAL);
        if (n == std::numeric_limits<int32_t>::min()) {
            throw std::length_error("text has more tokens than an int32 can count");
        }
        return AG_OK;
    });
    return rc == AG_OK ? n : std::numeric_limits<int32_t>::min();
}

int ag_detokenize(const ag_model * m, const int32_t * ids, int32_t n, bool special, ag_buf * out,
    ag_buf * err) {
    return ag_guarded(err, [&] {
        std::string s(size_t(n) * 8 + 64, '\0');
        int32_t len = llama_detokenize(m->vocab, ids, n, s.data(), int32_t(s.size()), false,
            special);
        if (len < 0) {
            s.resize(size_t(-len));
            len = llama_detokenize(m->vocab, ids, n, s.data(), int32_t(s.size()), false, special);
        }
        if (len < 0) {
            throw std::runtime_error("detokenize failed");
        }
        s.resize(size_t(len));
        ag_set(out, s);
        return AG_OK;
    });
}

int ag_vocab_dump(const ag_model * m, ag_buf * pieces, uint32_t * offsets, uint32_t * attrs,
    ag_buf * err) {
    return ag_guarded(err, [&] {
        std::string all;
        const int32_t n = llama_vocab_n_tokens(m->vocab);
        for (llama_token id = 0; id < n; id++) {
            offsets[id] = uint32_t(all.size());
            all += piece_of(m->vocab, id);
            attrs[id] = uint32_t(llama_vocab_get_attr(m->vocab, id)) & 0x3fffffffu;
            if (llama_vocab_is_eog(m->vocab, id)) {
                attrs[id] |= 1u << 30;
            }
        }
        offsets[n] = uint32_t(all.size());
        ag_set(pieces, all);
        return AG_OK;
    });
}

// ---------------------------------------------------------------- templates and schemas

int ag_template_render(const char * text, size_t len, ag_buf * out, ag_buf * err) {
    return ag_guarded(err, [&] {
        const json in = json::parse(std::string(text, len));
        jinja::lexer lexer;
        auto lexed = lexer.tokenize(in.at("template").get<std::string>());
        jinja::program prog = jinja::parse_from_tokens(lexed);
        jinja::context ctx(lexed.source);

        // Contents are marked as input; the roles are not, so that a template may compare and print them.
        json globals = json::object();
        json messages = in.at("messages");
        if (in.value("typed_content", false)) {
            json typed = json::array();
            for (const auto & [_, m] : messages.items()) {
                json part = json::object();
                part["type"] = std::string("text");
                part["text"] = m.at("content");
                json t = json::object();
                t["role"] = m.at("role");
                json parts = json::array();
                parts.push_back(part);
                t["content"] = parts;
                typed.push_back(t);
            }
            messages = typed;
        }
        globals["messages"] = messages;
        jinja::global_from_json(ctx, globals, true);
        json plain = json::object();
        plain["bos_token"] = in.value("bos", json::make(std::string()));
        plain["eos_token"] = in.value("eos", json::make(std::string()));
        plain["add_generation_prompt"] = in.value("add_generation_prompt", true);
        if (in.contains("extra")) {
            for (const auto & [k, v] : in.at("extra").items()) {
                plain[k] = v;
            }
        }
        jinja::global_from_json(ctx, plain, false);

        jinja::runtime runtime(ctx);
        const jinja::value results = runtime.execute(prog);
        auto rendered = jinja::runtime::gather_string_parts(results);
        json parts = json::array();
        for (const auto & part : rendered->as_string().parts) {
            json p = json::object();
            p["text"] = part.val;
            p["input"] = part.is_input;
            parts.push_back(p);
        }
        json reply = json::object();
        reply["parts"] = parts;
        ag_set(out, reply.dump_safe());
        return AG_OK;
    });
}

int ag_schema_to_grammar(const char * text, size_t len, ag_buf * gbnf, ag_buf * err) {
    const int rc = ag_guarded(err, [&] {
        ag_set(gbnf, json_schema_to_grammar(json::parse(std::string(text, len)), true));
        return AG_OK;
    });
    return rc == AG_ERR ? int(AG_ERR_GRAMMAR) : rc;
}

// ---------------------------------------------------------------- samplers

int ag_sampler_new(const ag_model * m, const ag_sampler_params * p, ag_sampler ** out,
    ag_buf * err) {
    *out = nullptr;
    return ag_guarded(err, [&] {
        ag_take_last_log();
        auto s = std::make_unique<ag_sampler>();
        ag_live_objects++;
        s->model = m;
        s->params = *p;
        s->params.grammar = nullptr;
        for (int32_t i = 0; i < p->n_bias; i++) {
            s->biases.emplace_back(p->bias_ids[i], p->biases[i]);
        }
        s->params.bias_ids = nullptr;
        s->params.biases = nullptr;
        s->rng.seed(p->seed);
        if (p->grammar) {
            s->grammar = ag_grammar::parse(m->vocab, p->grammar);
            if (!s->grammar) {
                fail(err, "the grammar can't be parsed");
                return int(AG_ERR_GRAMMAR);
            }
        }
        *out = s.release();
        return int(AG_OK);
    });
}

int ag_sampler_accept(ag_sampler * s, const int32_t * ids, int32_t n, bool grammar_too,
    ag_buf * err) {
    return ag_guarded(err, [&] {
        for (int32_t i = 0; i < n; i++) {
            s->accept(ids[i], grammar_too);
        }
        return AG_OK;
    });
}

void ag_sampler_free(ag_sampler * s) {
    delete s;
}

// ---------------------------------------------------------------- context

ag_context::~ag_context() {
    if (ctx) {
        llama_free(ctx);
    }
    ag_live_objects--;
}

static bool on_abort_poll(void * data) {
    return static_cast<ag_context *>(data)->abort.load(std::memory_order_relaxed);
}

int ag_context_new(ag_model * m, const ag_context_params * p, ag_context ** out, ag_buf * err) {
    *out = nullptr;
    return ag_guarded(err, [&] {
        ag_take_last_log();
        auto c = std::make_unique<ag_context>();
        ag_live_objects++;
        c->parent = m;
        llama_context_params cp = llama_context_default_params();
        cp.n_ctx = p->n_ctx;
        cp.n_batch = p->n_batch;
        cp.n_ubatch = p->n_ubatch;
        cp.n_seq_max = p->n_seq;
        cp.n_outputs_max = p->embeddings ? 0 : p->n_outputs;
        cp.n_threads = p->n_threads;
        cp.n_threads_batch = p->n_threads_batch;
        cp.type_k = ggml_type(p->kv_type);
        cp.type_v = ggml_type(p->kv_type);
        cp.flash_attn_type = llama_flash_attn_type(p->flash_attn);
        cp.kv_unified = true;
        cp.swa_full = true; // prefix reuse and option scoring need every cell
        cp.no_perf = true;
        cp.embeddings = p->embeddings;
        if (p->embeddings && llama_model_n_embd_out(m->model) > 0) {
            cp.pooling_type = LLAMA_POOLING_TYPE_UNSPECIFIED;
        }
        cp.abort_callback = on_abort_poll;
        cp.abort_callback_data = c.get();
        c->ctx = llama_init_from_model(m->model, cp);
        if (!c->ctx) {
            return fail(err, "llama.cpp could not make a context");
        }
        c->n_embd = uint32_t(llama_model_n_embd_out(m->model));
        *out = c.release();
        return int(AG_OK);
    });
}

void ag_context_free(ag_context * c) {
    delete c;
}

int ag_context_info(const ag_context * c, ag_buf * out, ag_buf * err) {
    return ag_guarded(err, [&] {
        json i = json::object();
        i["n_ctx"] = int64_t(llama_n_ctx(c->ctx));
        i["n_batch"] = int64_t(llama_n_batch(c->ctx));
        i["n_ubatch"] = int64_t(llama_n_ubatch(c->ctx));
        i["n_seq"] = int64_t(llama_n_seq_max(c->ctx));
        i["pooling"] = int64_t(llama_pooling_type(c->ctx));
        ag_set(out, i.dump_safe());
        return AG_OK;
    });
}

void ag_context_abort(ag_context * c, bool on) {
    c->abort.store(on, std::memory_order_relaxed);
}

static void fill_batch(ag_context * c, const ag_row * rows, int32_t n, const int32_t * seqs) {
    c->tokens.resize(n);
    c->positions.resize(n);
    c->n_seq_id.resize(n);
    c->seq_ids.resize(n + 1);
    c->outputs.resize(n);
    for (int32_t i = 0; i < n; i++) {
        c->tokens[i] = rows[i].token;
        c->positions[i] = rows[i].pos;
        c->n_seq_id[i] = rows[i].n_seq;
        c->seq_ids[i] = const_cast<llama_seq_id *>(seqs + rows[i].seq_at);
        c->outputs[i] = int8_t(rows[i].output != 0);
    }
    c->seq_ids[n] = nullptr;
}

// Answers all wants of one row together, so that its normaliser is summed once.
static void answer_wants(ag_context * c, ag_want * wants, int32_t n, const ag_ends * ends) {
    const int32_t n_vocab = llama_vocab_n_tokens(c->parent->vocab);
    int32_t row = -1;
    const float * logits = nullptr;
    double norm = 0;
    for (int32_t i = 0; i < n; i++) {
        if (wants[i].row != row) {
            row = wants[i].row;
            logits = llama_get_logits_ith(c->ctx, row);
            if (!logits) {
                throw std::runtime_error("no logits for a wanted row");
            }
            norm = ag_log_sum_exp(logits, n_vocab);
        }
        if (wants[i].token >= 0) {
            if (wants[i].token >= n_vocab) {
                throw std::out_of_range("wanted token is not in the vocabulary");
            }
            wants[i].logprob = float(logits[wants[i].token] - norm);
            continue;
        }
        const int32_t set = -1 - wants[i].token;
        if (!ends || set >= ends->n_sets) {
            throw std::out_of_range("unknown end set");
        }
        double sum = 0;
        for (int32_t j = ends->at[set]; j < ends->at[set + 1]; j++) {
            sum += std::exp(double(logits[ends->tokens[j]]) - norm);
        }
        wants[i].logprob = float(std::log(sum));
    }
}

int ag_step(ag_context * c, const ag_row * rows, int32_t n_rows, const int32_t * seqs,
            ag_sample * samples, int32_t n_samples, ag_want * wants, int32_t n_wants,
            const ag_ends * ends, ag_buf * err) {
    return ag_guarded(err, [&] {
        ag_take_last_log();
        fill_batch(c, rows, n_rows, seqs);
        llama_batch batch = {};
        batch.n_tokens = n_rows;
        batch.token = c->tokens.data();
        batch.pos = c->positions.data();
        batch.n_seq_id = c->n_seq_id.data();
        batch.seq_id = c->seq_ids.data();
        batch.logits = c->outputs.data();
        const int rc = llama_decode(c->ctx, batch);
        if (rc != 0) {
            const std::string log = ag_take_last_log();
            ag_set(err, log.empty() ? "llama_decode returned " + std::to_string(rc) : log);
            return rc < -1 ? int(AG_ERR_DECODE) : rc;
        }
        const int32_t n_vocab = llama_vocab_n_tokens(c->parent->vocab);
        for (int32_t i = 0; i < n_samples; i++) {
            float * logits = llama_get_logits_ith(c->ctx, samples[i].row);
            if (!logits) {
                throw std::runtime_error("no logits for a sampled row");
            }
            samples[i].sampler->sample(logits, n_vocab, samples[i]);
        }
        answer_wants(c, wants, n_wants, ends);
        if (n_samples == 0 && n_wants == 0) {
            llama_synchronize(c->ctx); // so that time and errors belong to this tick
        }
        return int(AG_OK);
    });
}

int ag_seq_rm(ag_context * c, int32_t seq, int32_t p0, int32_t p1, bool * removed, ag_buf * err) {
    *removed = false;
    return ag_guarded(err, [&] {
        *removed = llama_memory_seq_rm(llama_get_memory(c->ctx), seq, p0, p1);
        return AG_OK;
    });
}

int ag_seq_cp(ag_context * c, int32_t src, int32_t dst, int32_t p0, int32_t p1, ag_buf * err) {
    return ag_guarded(err, [&] {
        llama_memory_seq_cp(llama_get_memory(c->ctx), src, dst, p0, p1);
        return AG_OK;
    });
}

int ag_seq_state_size(ag_context * c, int32_t seq, size_t * done, ag_buf * err) {
    *done = 0;
    return ag_guarded(err, [&] {
        *done = llama_state_seq_get_size(c->ctx, seq);
        return AG_OK;
    });
}

int ag_seq_state_get(ag_context * c, int32_t seq, uint8_t * data, size_t len, size_t * done,
    ag_buf * err) {
    *done = 0;
    return ag_guarded(err, [&] {
        *done = llama_state_seq_get_data(c->ctx, data, len, seq);
        return AG_OK;
    });
}

int ag_seq_state_set(ag_context * c, int32_t seq, const uint8_t * data, size_t len, size_t * done,
    ag_buf * err) {
    *done = 0;
    return ag_guarded(err, [&] {
        *done = llama_state_seq_set_data(c->ctx, data, len, seq);
        if (*done == 0) {
            llama_memory_seq_rm(llama_get_memory(c->ctx), seq, -1, -1);
        }
        return AG_OK;
    });
}

int32_t ag_seq_pos_max(ag_context * c, int32_t seq) {
    return llama_memory_seq_pos_max(llama_get_memory(c->ctx), seq);
}

void ag_set_threads(ag_context * c, int32_t decode, int32_t prefill) {
    llama_set_n_threads(c->ctx, decode, prefill);
}

int ag_embed(ag_context * c, const int32_t * ids, int32_t n, float * out, int32_t n_out,
    ag_buf * err) {
    return ag_guarded(err, [&] {
        ag_take_last_log();
        if (n_out != int32_t(c->n_embd)) {
            throw std::invalid_argument("embedding size differs");
        }
        if (llama_memory_t mem = llama_get_memory(c->ctx)) {
            llama_memory_clear(mem, false);
        }
        std::vector<ag_row> rows(n);
        const int32_t seq = 0;
        for (int32_t i = 0; i < n; i++) {
            rows[i] = {ids[i], i, 0, 1, 1};
        }
        fill_batch(c, rows.data(), n, &seq);
        llama_batch batch = {};
        batch.n_tokens = n;
        batch.token = c->tokens.data();
        batch.pos = c->positions.data();
        batch.n_seq_id = c->n_seq_id.data();
        batch.seq_id = c->seq_ids.data();
        batch.logits = c->outputs.data();
        const bool encoder_only = llama_model_has_encoder(c->parent->model) &&
            !llama_model_has_decoder(c->parent->model);
        const int rc = encoder_only ? llama_encode(c->ctx, batch) : llama_decode(c->ctx, batch);
        if (rc != 0) {
            return fail(err, "computing the embedding failed with code " + std::to_string(rc));
        }
        const bool pooled = llama_pooling_type(c->ctx) != LLAMA_POOLING_TYPE_NONE;
        double norm = 0;
        std::vector<double> sum(n_out, 0.0);
        if (pooled) {
            const float * e = llama_get_embeddings_seq(c->ctx, 0);
            if (!e) {
                return fail(err, "the model gives no embedding");
            }
            for (int32_t j = 0; j < n_out; j++) {
                sum[j] = e[j];
            }
        } else { // a generative model: mean over the tokens
            for (int32_t i = 0; i < n; i++) {
                const float * e = llama_get_embeddings_ith(c->ctx, i);
                if (!e) {
                    return fail(err, "the model gives no embedding");
                }
                for (int32_t j = 0; j < n_out; j++) {
                    sum[j] += e[j];
                }
            }
        }
        for (double v : sum) {
            norm += v * v;
        }
        if (!std::isfinite(norm)) {
            return fail(err, "the model computed no valid number for the embedding: its file is damaged");
        }
        norm = norm > 0 ? 1.0 / std::sqrt(norm) : 0.0;
        for (int32_t j = 0; j < n_out; j++) {
            out[j] = float(sum[j] * norm);
        }
        return int(AG_OK);
    });
}
