// CLIP and SigLIP: features of pictures and texts.
#include "anemone/clip.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "c_api/c_checkpoint.h"
#include "c_api/c_progress.h"
#include "c_api/call.h"
#include "c_api/options.h"
#include "clip/image.h"
#include "container/text.h"
#include "infer/clip_source.h"
#include "infer/zero_shot.h"

using anemone::ClipFeatures;
using anemone::Result;
using anemone::Status;
using namespace anemone::c_api;  // NOLINT(google-build-using-namespace)

// A CLIP and its tokenizer.
struct anemone_clip {
  anemone_clip(anemone::ClipModel loaded, anemone::TextEncoder words,
               std::shared_ptr<std::atomic<anemone_progress*>> of)
      : model(std::move(loaded)), encode(std::move(words)), progress(std::move(of)) {}

  anemone::ClipModel model;
  anemone::TextEncoder encode;
  std::shared_ptr<std::atomic<anemone_progress*>> progress;  // of the call under way; the model asks it
};

namespace {

size_t PixelsOf(const anemone_clip& clip) {
  const uint64_t side = clip.model.spec().image_size;
  return 3 * side * side;
}

Status GivePixels(const std::vector<float>& values, const anemone_clip& clip, float* pixels) {
  if (values.size() != PixelsOf(clip)) {
    return anemone::InvalidArgument(
        fmt::format("expected {} numbers for a picture by the checkpoint's preprocessing, found {}", PixelsOf(clip),
                    values.size()));
  }
  std::ranges::copy(values, pixels);
  return {};
}

// Runs `encode()`, which `progress` stops, and hands out its rows.
template <typename Encode>
anemone_status* Encoded(anemone_clip* clip, anemone_progress* progress, float** features, size_t* width,
                        Encode encode) {
  clip->progress->store(progress);
  anemone_status* status = Guarded([&]() -> Status {
    ANEMONE_ASSIGN(const ClipFeatures rows, encode());
    auto* copy = static_cast<float*>(Allocate(rows.values.size() * sizeof(float)));
    std::ranges::copy(rows.values, copy);
    *features = copy;
    *width = rows.width;
    return {};
  });
  clip->progress->store(nullptr);
  return status;
}

ClipFeatures Rows(const float* values, size_t count, size_t width) {
  return {count, width, {values, values + count * width}};
}

}  // namespace

anemone_status* anemone_clip_load(const anemone_checkpoint* checkpoint, const char* options, anemone_clip** clip) {
  return Guarded([&]() -> Status {
    anemone::ClipOptions clip_options;
    const Option known[] = {{"threads", &clip_options.threads}, {"keep_weights", &clip_options.keep_weights}};
    ANEMONE_TRY(ReadOptions(options, known));
    auto progress = std::make_shared<std::atomic<anemone_progress*>>(nullptr);
    clip_options.cancelled = [progress] {
      const anemone_progress* current = progress->load();
      return current != nullptr && current->cancelled;
    };
    ANEMONE_ASSIGN(anemone::ClipModel model, LoadClip(checkpoint->stored, clip_options));
    ANEMONE_ASSIGN(anemone::TextEncoder encode, LoadTokenizer(checkpoint->stored, model.spec()));
    return Give(clip, std::move(model), std::move(encode), std::move(progress));
  });
}

anemone_status* anemone_find_images(const char* folder, char** json) {
  return Guarded([&]() -> Status {
    anemone::LeftOut left_out;
    ANEMONE_ASSIGN(const std::vector<std::string> found, anemone::FindImages(folder, &left_out));
    anemone::ConfigNode list = anemone::ConfigNode::List();
    for (const std::string& path : found) list.list.push_back(anemone::ConfigNode::String(path));
    return GiveJson(list, json);
  });
}

uint64_t anemone_clip_image_size(const anemone_clip* clip) { return clip->model.spec().image_size; }

anemone_status* anemone_clip_logit_scale(const anemone_clip* clip, double* scale) {
  return Guarded([&]() -> Status {
    ANEMONE_ASSIGN(*scale, clip->model.LogitScale());
    return {};
  });
}

anemone_status* anemone_clip_pixels_of_file(const anemone_clip* clip, const char* path, float* pixels) {
  return Guarded([&]() -> Status {
    ANEMONE_ASSIGN(const std::vector<float> values, anemone::LoadPixels(path, clip->model.spec()));
    return GivePixels(values, *clip, pixels);
  });
}

anemone_status* anemone_clip_pixels_of_rgb(const anemone_clip* clip, uint32_t width, uint32_t height,
                                           const uint8_t* rgb, float* pixels) {
  return Guarded([&]() -> Status {
    const anemone::Image image{width, height, {rgb, rgb + uint64_t{width} * height * 3}};
    const anemone::ClipPreprocess& preprocess = clip->model.spec().preprocess;
    ANEMONE_ASSIGN(const anemone::Image resized, ResizeAndCrop(image, preprocess));
    return GivePixels(Normalize(resized, preprocess), *clip, pixels);
  });
}

anemone_status* anemone_clip_encode_images(anemone_clip* clip, const float* pixels, size_t count,
                                           anemone_progress* progress, float** features, size_t* width) {
  return Encoded(clip, progress, features, width,
                 [&] { return clip->model.EncodeImages(std::span(pixels, count * PixelsOf(*clip))); });
}

anemone_status* anemone_clip_encode_texts(anemone_clip* clip, const char* const* texts, size_t count,
                                          anemone_progress* progress, float** features, size_t* width) {
  return Encoded(clip, progress, features, width, [&]() -> Result<ClipFeatures> {
    std::vector<std::vector<int32_t>> ids;
    ids.reserve(count);
    for (const char* text : std::span(texts, count)) {
      Result<std::vector<int32_t>> encoded = clip->encode(text);
      if (!encoded.ok()) return encoded.status().In(fmt::format("text {}", anemone::internal::Quoted(text)));
      ids.push_back(*std::move(encoded));
    }
    return clip->model.EncodeTexts(ids);
  });
}

anemone_status* anemone_clip_probabilities(const anemone_clip* clip, const float* images, size_t image_count,
                                           const float* texts, size_t text_count, size_t width,
                                           const double* logit_scale, float* probabilities) {
  return Guarded([&]() -> Status {
    double scale = 0;
    if (logit_scale != nullptr) {
      scale = *logit_scale;
    } else {
      ANEMONE_ASSIGN(scale, clip->model.LogitScale());
    }
    ANEMONE_ASSIGN(const double bias, clip->model.LogitBias());
    ANEMONE_ASSIGN(const std::vector<float> answer,
                   ClipProbabilities(Rows(images, image_count, width), Rows(texts, text_count, width), scale,
                                     clip->model.spec().siglip, bias));
    std::ranges::copy(answer, probabilities);
    return {};
  });
}

void anemone_clip_free(anemone_clip* clip) { delete clip; }
