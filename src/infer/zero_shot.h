// Zero-shot classification: texts as a classifier, and its accuracy on a folder of pictures per class
// [NeMo v2.0.0 examples/multimodal/vision_language_foundation/clip/megatron_clip_imagenet_zeroshot.py].
#ifndef ANEMONE_INFER_ZERO_SHOT_H_
#define ANEMONE_INFER_ZERO_SHOT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/clip.h"
#include "anemone/progress.h"
#include "anemone/status.h"
#include "infer/clip_source.h"

namespace anemone {

// `label` in the place of {}. Errors: InvalidArgument (no {} in it).
Result<std::string> FillTemplate(std::string_view prompt, std::string_view label);

// A normalised row a label. With templates: the features of each filled template, normalised, averaged, normalised
// again; without: the label is the text. Errors name the text.
Result<ClipFeatures> EncodeLabels(ClipModel& model, const TextEncoder& encode, const std::vector<std::string>& labels,
                                  const std::vector<std::string>& templates, const ProgressFn& progress = {});

// What a walk through folders of pictures did not take; each kind with its count and its first path.
struct LeftOut {
  struct Kind {
    uint64_t count = 0;
    std::string first;
    void Add(const std::string& path) {
      if (count++ == 0) first = path;
    }
  };
  Kind hidden;    // files and folders whose name begins with a dot, macOS's ._ files among them, and __MACOSX
  Kind loops;     // links to a folder that holds them
  Kind foreign;   // pictures of formats that are not decoded, by their names
  Kind nameless;  // other files
  // One line a kind that there is.
  std::vector<std::string> Notes() const;
};

// The pictures under a folder, at any depth, sorted. Errors: NotFound (none).
Result<std::vector<std::string>> FindImages(const std::string& folder, LeftOut* left_out);

// One subfolder a class, sorted by name, as torchvision's ImageFolder numbers them.
struct ImageFolder {
  std::vector<std::string> classes;  // the subfolders' names
  struct Item {
    std::string path;
    size_t target;  // index of its class
  };
  std::vector<Item> items;  // by class, then by path
  LeftOut left_out;
  std::string nested;  // the last class folder, where each has its pictures in folders of its own, as train and val do
  // A note for what was left out, and one where the classes may be a folder further down.
  std::vector<std::string> Notes() const;
};
// Errors: NotFound (no folder, no subfolders, a class without a picture, which is named).
Result<ImageFolder> OpenImageFolder(const std::string& path);

struct Accuracy {
  struct Class {
    uint64_t images = 0;
    uint64_t top1 = 0;  // pictures whose own class is the likeliest
    uint64_t top5 = 0;  // … is among the five likeliest
  };
  std::vector<Class> classes;
  Class total;
};

// What is done about pictures that cannot be read: a Status that is not OK ends the run.
using OnBadPictures = std::function<Status(const std::vector<Status>& failures)>;

// The accuracy of `classifier` (a normalised row a class) on the folder's pictures. Ties go to the lower class. Errors:
// InvalidArgument (as many rows as classes are needed); what `on_bad` answers.
Result<Accuracy> ZeroShotAccuracy(ClipModel& model, const ImageFolder& folder, const ClipFeatures& classifier,
                                  size_t batch, const OnBadPictures& on_bad, const ProgressFn& progress = {});

}  // namespace anemone

#endif  // ANEMONE_INFER_ZERO_SHOT_H_
