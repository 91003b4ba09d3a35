#include "clip/matmul.h"

#ifdef ANEMONE_HAS_ONEDNN

#include <fmt/format.h>
#include <oneapi/dnnl/dnnl.h>

#include "base/shared_library.h"
#include "clip/openmp.h"

namespace anemone::internal {
namespace {

#define ANEMONE_ONEDNN_FUNCTIONS(X)   \
  X(dnnl_get_effective_cpu_isa)       \
  X(dnnl_engine_create)               \
  X(dnnl_stream_create)               \
  X(dnnl_stream_wait)                 \
  X(dnnl_stream_destroy)              \
  X(dnnl_memory_desc_init_by_strides) \
  X(dnnl_memory_create)               \
  X(dnnl_memory_destroy)              \
  X(dnnl_matmul_desc_init)            \
  X(dnnl_primitive_attr_create)       \
  X(dnnl_primitive_attr_set_post_ops) \
  X(dnnl_primitive_attr_destroy)      \
  X(dnnl_post_ops_create)             \
  X(dnnl_post_ops_append_sum)         \
  X(dnnl_post_ops_destroy)            \
  X(dnnl_primitive_desc_create)       \
  X(dnnl_primitive_desc_destroy)      \
  X(dnnl_primitive_create)            \
  X(dnnl_primitive_execute)           \
  X(dnnl_primitive_destroy)

struct OneDnn {
#define ANEMONE_FUNCTION(name) decltype(&::name) name;
  ANEMONE_ONEDNN_FUNCTIONS(ANEMONE_FUNCTION)
#undef ANEMONE_FUNCTION
  OpenMp openmp;
  dnnl_engine_t engine;
};

Result<OneDnn> Load() {
  ANEMONE_ASSIGN(const SharedLibrary library, SharedLibrary::Open({"libdnnl.so.2"}));
  OneDnn dnn{};
#define ANEMONE_FUNCTION(name) ANEMONE_TRY(library.Find(#name, dnn.name));
  ANEMONE_ONEDNN_FUNCTIONS(ANEMONE_FUNCTION)
#undef ANEMONE_FUNCTION
  ANEMONE_ASSIGN(dnn.openmp, OpenMp::Of(library));
  if (dnn.dnnl_engine_create(&dnn.engine, dnnl_cpu, 0) != dnnl_success) {
    return Status(ErrorKind::kUnavailable, "oneDNN has no engine for this processor");
  }
  return dnn;
}

// What one product allocates, freed whatever happens.
struct Product {
  const OneDnn& dnn;
  dnnl_primitive_attr_t attributes = nullptr;
  dnnl_post_ops_t sum = nullptr;
  dnnl_primitive_desc_t plan = nullptr;
  dnnl_primitive_t primitive = nullptr;
  dnnl_memory_t memories[3] = {};
  dnnl_stream_t stream = nullptr;

  explicit Product(const OneDnn& loaded) : dnn(loaded) {}
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;
  ~Product() {
    if (stream != nullptr) dnn.dnnl_stream_destroy(stream);
    for (const dnnl_memory_t memory : memories) {
      if (memory != nullptr) dnn.dnnl_memory_destroy(memory);
    }
    if (primitive != nullptr) dnn.dnnl_primitive_destroy(primitive);
    if (plan != nullptr) dnn.dnnl_primitive_desc_destroy(plan);
    if (sum != nullptr) dnn.dnnl_post_ops_destroy(sum);
    if (attributes != nullptr) dnn.dnnl_primitive_attr_destroy(attributes);
  }
};

}  // namespace

bool HasBf16Products() {
  const Result<const OneDnn*> dnn = LoadedOnce<Load>();
  return dnn.ok() &&
         ((*dnn)->dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_amx) == dnnl_cpu_isa_avx512_core_amx;
}

Status Matmul(MatmulType type, const void* a, size_t a_stride, size_t rows, const void* w, size_t columns, size_t depth,
              bool accumulate, float* out, size_t out_stride, int threads) {
  ANEMONE_ASSIGN(const OneDnn* const dnn, LoadedOnce<Load>());
  Product p(*dnn);
  const dnnl_data_type_t in = type == MatmulType::kBf16 ? dnnl_bf16 : dnnl_f32;
  const auto dim = [](size_t value) { return static_cast<dnnl_dim_t>(value); };
  struct Matrix {
    dnnl_dims_t sizes, strides;
    dnnl_data_type_t type;
    void* data;
  };
  const Matrix matrices[3] = {{{dim(rows), dim(depth)}, {dim(a_stride), 1}, in, const_cast<void*>(a)},
                              {{dim(depth), dim(columns)}, {1, dim(depth)}, in, const_cast<void*>(w)},
                              {{dim(rows), dim(columns)}, {dim(out_stride), 1}, dnnl_f32, out}};
  dnnl_memory_desc_t descriptions[3];
  dnnl_matmul_desc_t matmul;
  const OpenMpThreads limit(dnn->openmp, threads);
  dnnl_status_t status = dnnl_success;
  const auto done = [&status](dnnl_status_t next) { return (status = next) == dnnl_success; };
  bool ok = true;
  for (size_t i = 0; ok && i < 3; ++i) {
    const Matrix& m = matrices[i];
    ok = done(dnn->dnnl_memory_desc_init_by_strides(&descriptions[i], 2, m.sizes, m.type, m.strides)) &&
         done(dnn->dnnl_memory_create(&p.memories[i], &descriptions[i], dnn->engine, m.data));
  }
  ok = ok && done(dnn->dnnl_matmul_desc_init(&matmul, &descriptions[0], &descriptions[1], nullptr, &descriptions[2])) &&
       done(dnn->dnnl_primitive_attr_create(&p.attributes));
  if (ok && accumulate) {
    ok = done(dnn->dnnl_post_ops_create(&p.sum)) && done(dnn->dnnl_post_ops_append_sum(p.sum, 1.0F)) &&
         done(dnn->dnnl_primitive_attr_set_post_ops(p.attributes, p.sum));
  }
  const dnnl_exec_arg_t arguments[3] = {
      {DNNL_ARG_SRC, p.memories[0]}, {DNNL_ARG_WEIGHTS, p.memories[1]}, {DNNL_ARG_DST, p.memories[2]}};
  ok = ok && done(dnn->dnnl_primitive_desc_create(&p.plan, &matmul, p.attributes, dnn->engine, nullptr)) &&
       done(dnn->dnnl_primitive_create(&p.primitive, p.plan)) &&
       done(dnn->dnnl_stream_create(&p.stream, dnn->engine, dnnl_stream_default_flags)) &&
       done(dnn->dnnl_primitive_execute(p.primitive, p.stream, 3, arguments)) && done(dnn->dnnl_stream_wait(p.stream));
  if (ok) return {};
  return Unsupported(fmt::format("oneDNN cannot multiply these matrices here (status {})", static_cast<int>(status)));
}

}  // namespace anemone::internal

#else

namespace anemone::internal {

bool HasBf16Products() { return false; }

Status Matmul(MatmulType, const void*, size_t, size_t, const void*, size_t, size_t, bool, float*, size_t, int) {
  return Unsupported("this build has no oneDNN");
}

}  // namespace anemone::internal

#endif

namespace anemone::internal {
Products products = {HasBf16Products, Matmul};
}  // namespace anemone::internal
