// A CLIP's weights in memory, as products take them: one layer's at a time, or all of them for good.
#ifndef ANEMONE_CLIP_WEIGHTS_H_
#define ANEMONE_CLIP_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "anemone/clip.h"
#include "anemone/status.h"
#include "anemone/tensor.h"
#include "clip/buffer.h"
#include "clip/encoding.h"
#include "clip/packed.h"
#include "clip/workers.h"

namespace anemone::internal {

// The form in which the weights of linear layers lie in memory.
enum class FactorForm : uint8_t {
  kFp32,    // rows, for a library
  kBf16,    // the bits, for oneDNN
  kPacked,  // panels, for the project's own products
};

struct StoredFactor;

// A linear layer's weight, [out, in]: one of the four.
struct Factor {
  const float* packed = nullptr;         // panels, in `encoding`, for the project's own products
  const StoredFactor* stored = nullptr;  // the same, but read as they are multiplied
  const float* fp32 = nullptr;           // for a library's
  const uint16_t* bf16 = nullptr;        // the bits
};

struct Linear {
  Factor weight;
  const float* bias = nullptr;  // [out], may be null
  size_t in = 0;
  size_t out = 0;
  size_t group = 0;  // outputs that are packed apart from others; divides `out`
  Encoding encoding = {};

  size_t first_panel = 0;  // of a stored weight, of which these are some rows

  ColumnPanels Panels() const { return {out, group}; }
  // Output features [begin, end) alone: whole groups.
  Linear Rows(size_t begin, size_t end) const;
};

// A weight that is multiplied but once: each panel is read, packed, multiplied and forgotten, and stays in the cache
// meanwhile.
struct StoredFactor {
  std::string name;
  Tensor tensor;  // as products take it
  Linear linear;  // all of its rows

  // Panel p, packed: Encoding::PanelSize elements. Threads: any. Errors: those of the source.
  Status ReadPanel(size_t p, float* to) const;
};

struct Norm {
  const float* weight = nullptr;
  const float* bias = nullptr;
};

struct LayerWeights {
  Norm norm1, norm2;
  Linear qkv, out, up, down;
};

// Reads by name. What is read is valid until Forget, but a layer's only until the next layer is read, where they are
// not to be kept. Threads: one call at a time. Errors: those of the source; Corrupt (a shape other than the one asked
// for); Interrupted.
class WeightReader {
 public:
  // `keep`: all is kept for good. `workers` must live as long.
  WeightReader(ClipWeights source, ClipCompute compute, bool keep, Workers* workers)
      : source_(std::move(source)), compute_(compute), keep_(keep), workers_(*workers) {}

  // Before anything is read.
  void set_form(FactorForm form) { form_ = form; }

  // A tensor as it is stored.
  Result<Tensor> Find(const std::string& name) const { return source_(name); }
  Result<const float*> Read(const std::string& name, const Shape& shape);
  // One row of a table in fp32.
  Result<const float*> ReadRow(const std::string& name, const Tensor& table, uint64_t row, uint64_t width);
  Status ReadNorm(const std::string& name, uint64_t width, Norm* norm);
  // `shape`: that of the weight, of which the first dimension is outputs.
  Status ReadLinear(const std::string& name, const Shape& shape, bool bias, Linear* linear);
  // A layer, or SigLIP's pooling head, whose one norm comes before the MLP. `once`: each row of a weight is multiplied
  // in one product.
  Status ReadLayer(const std::string& prefix, const ClipTower& tower, bool is_head, bool once, LayerWeights* layer);

  // The end of a call: what was read apart from layers goes, unless it is to be kept; all of it after a stop.
  void Forget(bool was_stopped) {
    if (!keep_ || was_stopped) kept_.clear();
  }

 private:
  struct Want {
    std::string name;
    Shape shape;
    std::variant<const float**, Linear*> to;

    const Linear* factor_of() const {
      const auto* const linear = std::get_if<Linear*>(&to);
      return linear == nullptr ? nullptr : *linear;
    }
  };
  struct Piece;

  static Status ReadPiece(const Piece& piece);
  Result<Tensor> AsFactor(const Tensor& weight) const;
  void Point(const Want& want, const void* at) const;
  uint64_t Cut(const Want& want, const Tensor& tensor, std::byte* to, std::vector<Piece>* pieces) const;
  Result<Tensor> TensorOf(const Want& want) const;
  Status ReadInto(const std::vector<Want>& wants, Buffer* block);
  Status LeaveStored(std::vector<Want>* wants);
  Status ReadOne(const Want& want);

  ClipWeights source_;
  ClipCompute compute_;
  bool keep_;
  Workers& workers_;
  FactorForm form_ = FactorForm::kFp32;
  std::map<std::string, std::unique_ptr<Buffer>> kept_;  // by name; with keep_ all, else what is no layer's
  Buffer layer_;                                         // each layer in turn
  std::vector<StoredFactor> stored_;                     // the layer's
};

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_WEIGHTS_H_
