// Attention of one head.
#ifndef ANEMONE_CLIP_ATTENTION_H_
#define ANEMONE_CLIP_ATTENTION_H_

#include <cstddef>

namespace anemone::internal {

// out = softmax(q · kᵀ / √depth) · v. Row-major fp32; strides are elements between rows.
struct Attention {
  const float* q = nullptr;  // [queries, depth]
  size_t q_stride = 0;
  size_t queries = 0;
  const float* k = nullptr;  // [keys, depth]
  const float* v = nullptr;  // [keys, depth]
  size_t kv_stride = 0;
  size_t keys = 0;
  size_t depth = 0;
  bool causal = false;     // query i sees keys up to first_query + i
  size_t first_query = 0;  // where the queries' first stands among the keys
  float* out = nullptr;    // [queries, depth]
  size_t out_stride = 0;
};
// In the calling thread, which keeps what memory it takes. Threads: any.
void Attend(const Attention& call);

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_ATTENTION_H_
