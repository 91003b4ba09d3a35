// CLIP (and SigLIP) zero-shot inference on the CPU, in fp32.
//
// Contents:  ClipPreprocess, ClipTower, ClipSpec, ClipModel.
// Use when:  a checkpoint is to be proven by what it says about a picture.
#ifndef ANEMONE_CLIP_H_
#define ANEMONE_CLIP_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"
#include "anemone/tensor.h"

namespace anemone {

// What becomes of transparency. Pillow's convert("RGB"), NeMo and transformers 4 drop it; transformers 5 lays the
// picture over white.
enum class AlphaRule : uint8_t { kDrop, kOverWhite };

// Where an odd remainder goes when the centre is cut out: transformers (s − c) // 2, torchvision (NeMo, OpenCLIP)
// round((s − c) / 2) to even.
enum class CropRule : uint8_t { kFloor, kRoundHalfEven };

// Pillow's numbers [PIL.Image.Resampling].
enum class Resample : uint8_t { kBilinear = 2, kBicubic = 3 };

// From a picture to the tower's input. Defaults are CLIP's own.
struct ClipPreprocess {
  // Shorter side after resizing, the other following by int(s · long / short); 0: to resize_height × resize_width
  // whatever the aspect ("squashing"); all 0: no resizing.
  uint32_t shortest_edge = 224;
  uint32_t resize_height = 0;
  uint32_t resize_width = 0;
  Resample resample = Resample::kBicubic;
  uint32_t crop_height = 224;  // 0: no crop. Larger than the picture: zeros around
  uint32_t crop_width = 224;
  CropRule crop_rule = CropRule::kFloor;
  AlphaRule alpha = AlphaRule::kDrop;
  double rescale_factor = 1.0 / 255;
  std::array<double, 3> mean = {0.48145466, 0.4578275, 0.40821073};
  std::array<double, 3> std = {0.26862954, 0.26130258, 0.27577711};
};

enum class Activation : uint8_t {
  kQuickGelu,  // x · sigmoid(1.702 x)
  kGelu,       // exact, by erf
  kGeluTanh,   // the tanh approximation
};

// One transformer. Sizes in elements.
struct ClipTower {
  uint64_t layers = 0;
  uint64_t width = 0;
  uint64_t ffn = 0;
  uint64_t heads = 0;
  Activation activation = Activation::kQuickGelu;
  double norm_epsilon = 1e-5;
};

// Which token of a text stands for it.
enum class TextPooling : uint8_t {
  kArgmax,    // the first of the highest ids (old configs: eos_token_id 2; NeMo)
  kFirstEos,  // the first eos_id, or position 0 where there is none (as transformers)
  kLast,      // the last position (SigLIP)
};

struct ClipSpec {
  ClipTower text;
  ClipTower vision;
  uint64_t projection = 0;  // width of the features
  uint64_t vocab = 0;       // rows of the embedding table; may be padded
  uint64_t context = 77;    // positions of a text
  uint64_t image_size = 224;
  uint64_t patch_size = 32;
  TextPooling pooling = TextPooling::kArgmax;
  int32_t eos_id = 49407;
  bool siglip = false;  // no class token, no causal mask, an attention-pooling head, biases, sigmoid instead of softmax
  ClipPreprocess preprocess;
};

}  // namespace anemone

#endif  // ANEMONE_CLIP_H_
