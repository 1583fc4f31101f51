/* The C ABI between Go and llama.cpp. Coarse on purpose: one call per engine
 * tick, so that crossing cgo costs nothing against the work done.
 *
 * Rules that hold for every function here:
 *   - No C++ exception leaves it. Failure is a non-zero code and, where an
 *     `ag_buf *err` is taken, a message in it that the caller frees.
 *   - Strings travel as pointer and length; a NUL byte is a byte like any other.
 *   - No callbacks. Progress and abort are atomics that both sides poll.
 *   - Who creates an object frees it, once; ag_live() counts what is left.
 *   - Arguments are checked; but GGML_ASSERT can't be caught, so callers check
 *     token ids, positions, sequence ids and files before they get here.
 */
#ifndef AGENT_SHIM_H
#define AGENT_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raise the number, here and in internal/llama/llama.go, whenever this header
 * changes. A binary linked against an older archive then fails at link, and the
 * missing name says what to do. */
#define AG_ABI agent_native_abi_9__run_make_native
extern const int AG_ABI;

/* Codes. Positive ones of ag_step are llama_decode's own. */
enum {
    AG_OK = 0,
    AG_KV_FULL = 1,       /* no room in the KV cache; nothing was changed */
    AG_NOT_TAKEN = 3,     /* the buffer type does not take this weight type */
    AG_ABORTED = 2,       /* aborted; finished ubatches stay in the cache */
    AG_ERR_BATCH = -1,    /* refused by llama.cpp before any work */
    AG_ERR_DECODE = -2,   /* failed while computing; resynchronise */
    AG_ERR = -100,        /* see the message */
    AG_ERR_GRAMMAR = -101 /* grammar or schema refused; see the message */
};

typedef struct ag_buf { char *data; size_t len; } ag_buf; /* owned by the caller: ag_buf_free */
void ag_buf_free(ag_buf *b);

/* Process-wide. log_level: ggml levels (0 none, 1 debug, 2 info, 3 warn, 4
 * error); lines at or above it go to stderr. The last error line is always
 * kept and becomes part of error messages. */
void ag_init(int log_level);
int64_t ag_live(void);             /* models + contexts + samplers alive */
/* Makes the devices of a ggml-rpc-server at host:port usable. For archives built
 * with ACCEL=rpc. A server that does not answer ends the process: dial it before. */
int ag_add_rpc_server(const char *endpoint, ag_buf *err);
/* Loads that CPU module of a folder which suits this processor best. For packages. */
int ag_load_modules(const char *dir, ag_buf *err);
int ag_system_info(ag_buf *json, ag_buf *err); /* {"devices":[…],"trouble":"…","features":"…","max_sequences":N,…} */

/* Machine. The first three may be called before ag_init. */
/* Numbers of the processors that this process was started with: asked of a thread later,
 * OpenMP may have bound it to one of them. At most max; returns their count, 0: unknown. */
int32_t ag_cores(int32_t *ids, int32_t max);
/* Space-separated instruction sets that the kernels need, and those of them that
 * are missing here. Where any is missing, call nothing that computes. */
int ag_instructions(ag_buf *needed, ag_buf *lacking, ag_buf *err);
void ag_die_by_signal(void); /* traps end the process by their signal; for child processes */
/* {"types":[{"number","name"}],"buffers":[{"name","device","extra"}]}: the weight
 * types that can be tested, and where weights may lie, best first for each device. */
int ag_buffer_types(ag_buf *json, ag_buf *err);
/* Multiplies random weights of `type` in `buffer` by rows[i] rows each; errors[i] is
 * the mean squared error over the mean square of a scalar reference. AG_NOT_TAKEN. */
int ag_selftest(const char *buffer, int32_t type, const int32_t *rows, int32_t n_rows,
    int32_t threads, float *errors, ag_buf *err);
/* Models loaded later put no weights there. */
int ag_disable_buffer(const char *buffer, ag_buf *err);

/* Model */
typedef struct ag_model ag_model;
typedef struct ag_progress { int32_t permille; int32_t cancel; } ag_progress; /* atomics */
typedef struct ag_model_params {
    int32_t gpu_layers;  /* -1: all */
    int32_t load_mode;   /* 0 plain, 1 mmap, 2 mlock, 3 mmap+mlock, -1 auto */
    int32_t main_gpu;
    int32_t split_mode;  /* llama_split_mode; -1 default */
    bool vocab_only;
    bool check_tensors;
    const float *tensor_split; /* NULL or ag_max_devices() entries */
    const int32_t *devices;    /* what layers lie on, as ag_system_info counts; none: on the CPU */
    int32_t n_devices;
    int32_t cpu_experts;       /* the experts of that many layers stay on the CPU */
} ag_model_params;
int ag_model_load(const char *path, const ag_model_params *p, ag_progress *progress, ag_model **out,
    ag_buf *err);
void ag_model_free(ag_model *m);
int ag_model_info(const ag_model *m, ag_buf *json, ag_buf *err);

/* Vocabulary. Flags of ag_tokenize. */
enum { AG_TOK_ADD_SPECIAL = 1, AG_TOK_PARSE_SPECIAL = 2 };
/* Returns the number of tokens, or its negative when cap is too small, or
 * INT32_MIN with err set. */
int32_t ag_tokenize(const ag_model *m, const char *text, size_t len, int flags, int32_t *out,
    int32_t cap, ag_buf *err);
int ag_detokenize(const ag_model *m, const int32_t *ids, int32_t n, bool special, ag_buf *out,
    ag_buf *err);
/* Every token's piece (special tokens rendered), concatenated, with n_vocab+1
 * offsets; attrs[i] has llama_token_attr bits, bit 30 set for end of generation. */
int ag_vocab_dump(const ag_model *m, ag_buf *pieces, uint32_t *offsets, uint32_t *attrs,
    ag_buf *err);

/* Chat template: in {"template":"","messages":[{"role","content"}],"bos":"","eos":"",
 * "add_generation_prompt":true,"extra":{}}, out {"parts":[{"text":"…","input":true}]}.
 * Parts that stem from message contents are marked as input, so that text which
 * looks like a control token can be kept from becoming one. */
int ag_template_render(const char *json, size_t len, ag_buf *out, ag_buf *err);
int ag_schema_to_grammar(const char *json, size_t len, ag_buf *gbnf, ag_buf *err);

/* Sampler: one per generated reply. */
typedef struct ag_sampler ag_sampler;
typedef struct ag_sampler_params {
    float temperature;   /* <= 0: greedy */
    int32_t top_k;       /* <= 0: off */
    float top_p;         /* >= 1: off */
    float min_p;         /* <= 0: off */
    float repeat_penalty;/* 1: off */
    int32_t repeat_last_n;
    float frequency_penalty; /* taken off a logit for each time its token stands in the reply */
    float presence_penalty;  /* taken off once where it does */
    const int32_t *bias_ids; /* n_bias token ids, each once, and what is added to their logits */
    const float *biases;
    int32_t n_bias;
    uint32_t seed;
    int32_t top_logprobs;/* rivals to report, 0 to 20 */
    bool logprobs;       /* report the log-probability of each sampled token */
    const char *grammar; /* GBNF, NUL-terminated; NULL: none */
} ag_sampler_params;
int ag_sampler_new(const ag_model *m, const ag_sampler_params *p, ag_sampler **out, ag_buf *err);
int ag_sampler_accept(ag_sampler *s, const int32_t *ids, int32_t n, bool grammar_too, ag_buf *err);
void ag_sampler_free(ag_sampler *s);

/* Context */
typedef struct ag_context ag_context;
typedef struct ag_context_params {
    uint32_t n_ctx;   /* cells of the KV cache, shared by all sequences */
    uint32_t n_batch; /* rows of one ag_step */
    uint32_t n_ubatch;
    uint32_t n_seq;   /* sequences */
    uint32_t n_outputs; /* rows of one ag_step that want logits */
    int32_t n_threads;
    int32_t n_threads_batch;
    int32_t kv_type;  /* ggml type of the KV cache: 1 f16, 8 q8_0, 0 f32, 30 bf16 */
    int32_t flash_attn; /* -1 auto, 0 off, 1 on */
    bool embeddings;  /* pooled text embeddings instead of logits */
} ag_context_params;
int ag_context_new(ag_model *m, const ag_context_params *p, ag_context **out, ag_buf *err);
void ag_context_free(ag_context *c);
/* {"n_ctx","n_seq","n_batch",…} */
int ag_context_info(const ag_context *c, ag_buf *json, ag_buf *err);
void ag_context_abort(ag_context *c, bool on);           /* from any thread */

/* One token of a step. A row belongs to n_seq sequences, seqs[seq_at …]. */
typedef struct ag_row {
    int32_t token, pos;
    int32_t seq_at, n_seq;
    int32_t output;      /* non-zero: compute logits */
} ag_row;

/* What ag_sample.token is when no token was drawn. */
enum {
    AG_TOKEN_NONE = -1,     /* none is allowed any more (grammar dead end) */
    AG_TOKEN_NO_NUMBER = -2, /* no logit is a finite number: the weights are damaged */
    AG_TOKEN_BUDGET = -3     /* following the grammar takes too much work */
};

/* A reply that samples from row `row` in this step. */
typedef struct ag_sample {
    int32_t row;
    ag_sampler *sampler;
    /* results */
    int32_t token;       /* or one of AG_TOKEN_… */
    int32_t is_end;      /* end-of-generation token */
    float logprob;       /* NaN unless asked for */
    int32_t n_top;
    int32_t top_ids[20];
    float top_logprobs[20];
} ag_sample;

/* A number wanted from the logits of row `row`: log p(token), or with token < 0
 * the log of the summed probability of end set number -1-token. */
typedef struct ag_want { int32_t row, token; float logprob; } ag_want;
/* End sets: tokens ends[end_at[i] … end_at[i+1]). */
typedef struct ag_ends { const int32_t *tokens; const int32_t *at; int32_t n_sets; } ag_ends;

/* Computes rows, then samples, then reads wants. One crossing per tick. */
int ag_step(ag_context *c, const ag_row *rows, int32_t n_rows, const int32_t *seqs,
            ag_sample *samples, int32_t n_samples, ag_want *wants, int32_t n_wants,
            const ag_ends *ends, ag_buf *err);

/* *removed is false where this memory can't drop a part (recurrent models). */
int ag_seq_rm(ag_context *c, int32_t seq, int32_t p0, int32_t p1, bool *removed, ag_buf *err);
int ag_seq_cp(ag_context *c, int32_t src, int32_t dst, int32_t p0, int32_t p1, ag_buf *err);
int32_t ag_seq_pos_max(ag_context *c, int32_t seq); /* -1: empty */
/* A sequence's part of the cache as bytes, for the same model and settings. get writes
 * them into data[len], len being what size gave; set replaces the sequence by them. *done
 * is 0 where it can't be had, or where there is no room: set leaves the sequence empty then. */
int ag_seq_state_size(ag_context *c, int32_t seq, size_t *done, ag_buf *err);
int ag_seq_state_get(ag_context *c, int32_t seq, uint8_t *data, size_t len, size_t *done,
    ag_buf *err);
int ag_seq_state_set(ag_context *c, int32_t seq, const uint8_t *data, size_t len, size_t *done,
    ag_buf *err);
void ag_set_threads(ag_context *c, int32_t decode, int32_t prefill);

/* Embeds one text (a whole sequence, at most n_batch tokens) into out[n_embd], unit length. */
int ag_embed(ag_context *c, const int32_t *ids, int32_t n, float *out, int32_t n_out, ag_buf *err);

#ifdef __cplusplus
}
#endif
#endif
