// The native self-test: random matrices of one weight type, multiplied through one
// buffer type, against a scalar reference. Run it in a child process: what it looks
// for may end the process.
#include "internal.h"

#include "ggml-backend.h"
#include "ggml.h"
#include "json.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <stdexcept>

using json = common_json;

namespace {

// Columns of a weight row and rows of the matrix: multiples of every block (256) and
// of every interleaving (32) that ggml's kernels want.
constexpr int64_t n_in  = 512;
constexpr int64_t n_out = 64;

std::set<std::string> disabled; // names; changed before models are loaded only

using extra_bufts_fn = ggml_backend_buffer_type_t * (*)(ggml_backend_dev_t);

// The list that llama.cpp offers weights to, best first; null where there is none.
ggml_backend_buffer_type_t * extra_types(ggml_backend_dev_t dev) {
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(dev);
    auto get = reinterpret_cast<extra_bufts_fn>(ggml_backend_reg_get_proc_address(reg,
        "ggml_backend_dev_get_extra_bufts"));
    return get ? get(dev) : nullptr;
}

template <typename F> void each_buffer_type(F && f) {
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t dev = ggml_backend_dev_get(i);
        for (auto * extra = extra_types(dev); extra && *extra; extra++) {
            f(dev, *extra, true);
        }
        f(dev, ggml_backend_dev_buffer_type(dev), false);
    }
}

struct place {
    ggml_backend_dev_t dev = nullptr;
    ggml_backend_buffer_type_t buft = nullptr;
};

place find_buffer_type(const std::string & name) {
    place found;
    each_buffer_type([&](ggml_backend_dev_t dev, ggml_backend_buffer_type_t buft, bool) {
        if (!found.dev && name == ggml_backend_buft_name(buft)) {
            found = {dev, buft};
        }
    });
    if (!found.dev) {
        throw std::invalid_argument("no buffer type " + name);
    }
    return found;
}

// A small generator of our own, so that every machine multiplies the same numbers.
struct noise {
    uint32_t state;
    float next() {
        state = state * 1664525u + 1013904223u;
        return float(state >> 8) / float(1 << 23) - 1.0f;
    }
};

std::vector<float> random_values(size_t n, uint32_t seed) {
    noise r{seed};
    std::vector<float> v(n);
    for (float & x : v) {
        x = r.next();
    }
    return v;
}

// The weights as stored, and as the numbers that the stored form means.
void quantise(ggml_type type, std::vector<uint8_t> & stored, std::vector<float> & meant) {
    meant = random_values(size_t(n_in * n_out), 1);
    stored.resize(ggml_row_size(type, n_in) * n_out);
    if (type == GGML_TYPE_F32) {
        std::memcpy(stored.data(), meant.data(), stored.size());
        return;
    }
    ggml_quantize_chunk(type, meant.data(), stored.data(), 0, n_out, n_in, nullptr);
    ggml_get_type_traits(type)->to_float(stored.data(), meant.data(), n_in * n_out);
}

// Error of y against the reference, over the reference's energy.
double normalised_error(const float * y, const std::vector<float> & w, const std::vector<float> & x,
    int64_t rows) {
    double wrong = 0, energy = 0;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t o = 0; o < n_out; o++) {
            double sum = 0;
            for (int64_t i = 0; i < n_in; i++) {
                sum += double(w[o * n_in + i]) * double(x[r * n_in + i]);
            }
            const double d = double(y[r * n_out + o]) - sum;
            wrong += d * d;
            energy += sum * sum;
        }
    }
    return wrong / energy;
}

template <typename T, void (*F)(T *)> struct deleter {
    void operator()(T * p) const { F(p); }
};
using context_ptr = std::unique_ptr<ggml_context, deleter<ggml_context, ggml_free>>;
using backend_ptr = std::unique_ptr<ggml_backend, deleter<ggml_backend, ggml_backend_free>>;
using buffer_ptr  =
    std::unique_ptr<ggml_backend_buffer, deleter<ggml_backend_buffer, ggml_backend_buffer_free>>;

context_ptr new_context() {
    return context_ptr(ggml_init({ggml_tensor_overhead() * 8 + ggml_graph_overhead(), nullptr,
        true}));
}

void set_threads(const place & p, ggml_backend_t backend, int32_t n) {
    using set_fn = void (*)(ggml_backend_t, int);
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(p.dev);
    if (auto set = reinterpret_cast<set_fn>(ggml_backend_reg_get_proc_address(reg,
        "ggml_backend_set_n_threads"))) {
        set(backend, n);
    }
}

// Multiplies the weights by `rows` rows; false: the buffer type does not take them.
bool multiply(const place & p, ggml_backend_t backend, ggml_type type,
    const std::vector<uint8_t> & stored,
              const std::vector<float> & x, int64_t rows, std::vector<float> & y) {
    context_ptr weights = new_context(), values = new_context();
    ggml_tensor * w = ggml_new_tensor_2d(weights.get(), type, n_in, n_out);
    buffer_ptr room(ggml_backend_buft_alloc_buffer(p.buft,
        ggml_backend_buft_get_alloc_size(p.buft, w)));
    if (!room) {
        throw std::bad_alloc();
    }
    // As llama.cpp asks before it puts a weight there.
    w->buffer = room.get();
    ggml_tensor * in = ggml_new_tensor_2d(values.get(), GGML_TYPE_F32, n_in, rows);
    ggml_tensor * out = ggml_mul_mat(values.get(), w, in);
    const bool taken = ggml_backend_dev_supports_op(p.dev, out);
    w->buffer = nullptr;
    if (!taken) {
        return false;
    }
    ggml_backend_tensor_alloc(room.get(), w, ggml_backend_buffer_get_base(room.get()));
    ggml_backend_buffer_set_usage(room.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    buffer_ptr rest(ggml_backend_alloc_ctx_tensors_from_buft(values.get(),
        ggml_backend_dev_buffer_type(p.dev)));
    if (!rest) {
        throw std::bad_alloc();
    }
    ggml_backend_tensor_set(w, stored.data(), 0, stored.size());
    ggml_backend_tensor_set(in, x.data(), 0, ggml_nbytes(in));
    ggml_cgraph * graph = ggml_new_graph(values.get());
    ggml_build_forward_expand(graph, out);
    if (ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS) {
        throw std::runtime_error("computing failed");
    }
    y.resize(size_t(rows * n_out));
    ggml_backend_tensor_get(out, y.data(), 0, ggml_nbytes(out));
    return true;
}

// Types that weights come in. Those that need an importance matrix or a grid of many
// seconds to quantise are left out.
bool is_weight_type(ggml_type type) {
    switch (type) {
        case GGML_TYPE_F32:
            return true;
        case GGML_TYPE_F64:
        case GGML_TYPE_I8:
        case GGML_TYPE_I16:
        case GGML_TYPE_I32:
        case GGML_TYPE_I64:
        case GGML_TYPE_Q8_1:
        case GGML_TYPE_Q8_K:
        case GGML_TYPE_IQ3_XXS:
        case GGML_TYPE_IQ3_S:
        case GGML_TYPE_IQ2_S:
        case GGML_TYPE_IQ1_M:
            return false;
        default:
            return ggml_get_type_traits(type)->to_float && !ggml_quantize_requires_imatrix(type);
    }
}

} // namespace

bool ag_is_disabled(const char * buffer_type) {
    return disabled.count(buffer_type) > 0;
}

int ag_buffer_types(ag_buf * out, ag_buf * err) {
    return ag_guarded(err, [&] {
        json types = json::array(), buffers = json::array();
        for (int t = 0; t < GGML_TYPE_COUNT; t++) {
            if (is_weight_type(ggml_type(t))) {
                json type = json::object();
                type["number"] = int64_t(t);
                type["name"] = std::string(ggml_type_name(ggml_type(t)));
                types.push_back(type);
            }
        }
        each_buffer_type([&](ggml_backend_dev_t dev, ggml_backend_buffer_type_t buft, bool extra) {
            json b = json::object();
            b["name"] = std::string(ggml_backend_buft_name(buft));
            b["device"] = std::string(ggml_backend_dev_name(dev));
            b["extra"] = extra;
            buffers.push_back(b);
        });
        json all = json::object();
        all["types"] = types;
        all["buffers"] = buffers;
        ag_set(out, all.dump_safe());
        return int(AG_OK);
    });
}

int ag_disable_buffer(const char * name, ag_buf * err) {
    return ag_guarded(err, [&] {
        const place p = find_buffer_type(name);
        disabled.insert(name);
        if (auto * list = extra_types(p.dev)) { // llama.cpp reads it at each load
            auto * end = list;
            while (*end) {
                end++;
            }
            std::fill(std::remove(list, end, p.buft), end, nullptr);
        }
        return int(AG_OK);
    });
}

int ag_selftest(const char * name, int32_t type, const int32_t * rows, int32_t n_rows,
    int32_t threads, float * errors, ag_buf * err) {
    return ag_guarded(err, [&] {
        const place p = find_buffer_type(name);
        std::vector<uint8_t> stored;
        std::vector<float> meant, y;
        quantise(ggml_type(type), stored, meant);
        const int32_t most = *std::max_element(rows, rows + n_rows);
        const std::vector<float> x = random_values(size_t(n_in * most), 2);
        backend_ptr backend(ggml_backend_dev_init(p.dev, nullptr));
        if (!backend) {
            throw std::runtime_error("the device can't be opened");
        }
        set_threads(p, backend.get(), threads);
        for (int32_t i = 0; i < n_rows; i++) {
            if (!multiply(p, backend.get(), ggml_type(type), stored, x, rows[i], y)) {
                return int(AG_NOT_TAKEN);
            }
            errors[i] = float(normalised_error(y.data(), meant, x, rows[i]));
        }
        return int(AG_OK);
    });
}
