// infer MODEL --image F… --text T…: CLIP zero-shot classification on the CPU.
#include "cli/infer.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <system_error>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/describe.h"
#include "cli/infer_answers.h"
#include "cli/page.h"
#include "cli/signals.h"
#include "cli/text.h"
#include "clip/gemm.h"
#include "clip/imagenet.h"
#include "engine/sources.h"
#include "infer/clip_source.h"
#include "infer/embeddings.h"
#include "infer/zero_shot.h"
#include "source/source.h"
#include "source/text_file.h"

namespace anemone::cli {
namespace {

namespace fs = std::filesystem;

// A directory stands for the pictures in it, sorted by name.
Status ExpandImages(std::vector<std::string>* images) {
  std::vector<std::string> expanded;
  LeftOut left_out;
  for (const std::string& image : *images) {
    std::error_code error;
    if (!fs::is_directory(image, error)) {
      expanded.push_back(image);
      continue;
    }
    ANEMONE_ASSIGN(const std::vector<std::string> found, FindImages(image, &left_out));
    expanded.insert(expanded.end(), found.begin(), found.end());
  }
  Notes(left_out.Notes());
  *images = std::move(expanded);
  return {};
}

// Pictures that cannot be read: the first ends the run where it is strict or the only picture; otherwise each is a
// warning.
class BadPictures {
 public:
  BadPictures(bool strict, size_t pictures) : fatal_(strict || pictures == 1), pictures_(pictures) {}

  Status Add(const std::vector<Status>& failures) {
    for (const Status& failure : failures) {
      if (fatal_) return failure;
      if (++count_ == 1) first_ = failure;
      if (count_ == pictures_) return first_;  // the last one, and none could be read
      if (Shown(count_) == count_) Warn(failure.message());
    }
    return {};
  }
  uint64_t count() const { return count_; }

 private:
  bool fatal_;
  size_t pictures_;
  uint64_t count_ = 0;
  Status first_;
};

// A folder's name, as a person writes it: "ankle_boot" is an ankle boot.
std::string LabelOfFolder(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

Status CheckOptions(const InferOptions& options) {
  if (options.logit_scale && !std::isfinite(*options.logit_scale)) {
    return InvalidArgument(fmt::format("--logit-scale: expected a finite number, found {}", *options.logit_scale));
  }
  if (!options.embeddings.empty()) ANEMONE_TRY(CheckEmbeddingsPath(options.embeddings, options.force));
  if (!options.html.empty()) {
    ANEMONE_TRY(CheckPagePath(options.html, options.force));
    if (options.images.empty() || options.texts.empty()) {
      return InvalidArgument("--html: expected --image and --text, which the page shows", "see: anemone infer --help");
    }
  }
  if (options.top > 0 && (options.images.empty() || options.texts.empty()))
    return InvalidArgument("--top: expected --image and --text, which the table shows", "see: anemone infer --help");
  if (options.csv && (options.images.empty() || options.texts.empty()))
    return InvalidArgument("--csv: expected --image and --text, which its rows and columns are",
                           "see: anemone infer --help");
  if (!options.dataset.empty()) {
    if (options.images.empty() && options.texts.empty() && options.embeddings.empty()) return {};
    return InvalidArgument("expected --dataset or --image, --text and --embeddings, found both",
                           "a data set's labels are its folders' names, or --labels FILE");
  }
  if (options.images.empty() && options.embeddings.empty())
    return InvalidArgument("expected --image", "see: anemone infer --help");
  if (options.texts.empty() && options.embeddings.empty()) {
    return InvalidArgument("expected --text or --labels", "see: anemone infer --help");
  }
  return {};
}

// A tower alone answers with its features.
Status HasTowersFor(const InferOptions& options, bool compares, const ClipSpec& spec) {
  if (spec.has_text && spec.has_vision) return {};
  const char* const there = spec.has_vision ? "image" : "text";
  const char* const lacks = spec.has_vision ? "text" : "image";
  const std::string hint = fmt::format("--embeddings FILE writes the features of --{}", there);
  if (compares) {
    return InvalidArgument(
        fmt::format("expected both towers to compare pictures with texts, found the {} tower alone", there), hint);
  }
  if (spec.has_vision ? options.texts.empty() : options.images.empty()) return {};
  return InvalidArgument(fmt::format("expected a model with {} tower for --{}, found the {} tower alone",
                                     spec.has_vision ? "a text" : "an image", lacks, there),
                         hint);
}

// A row a picture, in the pictures' order; NaN for one that could not be read.
void AppendRows(const ClipFeatures& features, const std::vector<size_t>& loaded, size_t pictures, ClipFeatures* all) {
  if (all->width == 0 && features.width > 0) {  // rows before the first picture that could be read have waited for it
    all->width = features.width;
    all->values.resize(all->count * all->width, std::numeric_limits<float>::quiet_NaN());
  }
  const size_t begin = all->count;
  all->count += pictures;
  all->values.resize(all->count * all->width, std::numeric_limits<float>::quiet_NaN());
  for (size_t i = 0; i < loaded.size(); ++i) {
    std::copy_n(features.values.begin() + static_cast<ptrdiff_t>(i * all->width), all->width,
                all->values.begin() + static_cast<ptrdiff_t>((begin + loaded[i]) * all->width));
  }
}

Status RunDataset(ClipModel& model, const TextEncoder& encode, const InferOptions& options, const ImageFolder& folder,
                  const std::vector<std::string>& labels, const std::vector<std::string>& templates, BadPictures* bad,
                  const ProgressFn& progress) {
  ANEMONE_ASSIGN(const ClipFeatures classifier, EncodeLabels(model, encode, labels, templates, progress));
  const OnBadPictures on_bad = [&](const std::vector<Status>& failures) { return bad->Add(failures); };
  ANEMONE_ASSIGN(const Accuracy accuracy, ZeroShotAccuracy(model, folder, classifier, options.batch, on_bad, progress));
  PrintAccuracy(folder, labels, accuracy, options.json);
  return {};
}

// A run's labels, templates and pictures, read from the files and folders that its options name.
struct Asked {
  std::vector<std::string> labels, templates;
  ImageFolder folder;  // the data set
};

Result<std::vector<std::string>> TemplatesOf(const InferOptions& options) {
  if (options.templates.empty()) return options.imagenet ? Lines(ImagenetTemplates()) : std::vector<std::string>();
  ANEMONE_ASSIGN(std::vector<std::string> templates, ReadTexts(options.templates, "a template"));
  for (const std::string& line : templates) ANEMONE_TRY(FillTemplate(line, "").status().In(options.templates));
  return templates;
}

Status OpenDataset(const InferOptions& options, Asked* asked) {
  ANEMONE_ASSIGN(asked->folder, OpenImageFolder(options.dataset));
  const ImageFolder& folder = asked->folder;
  Notes(folder.Notes());
  if (options.labels.empty() && options.imagenet) {
    asked->labels = Lines(ImagenetClassNames());
  } else if (options.labels.empty()) {
    std::transform(folder.classes.begin(), folder.classes.end(), std::back_inserter(asked->labels), LabelOfFolder);
  }
  if (asked->labels.size() == folder.classes.size()) return {};
  return InvalidArgument(
      fmt::format("{}: expected {} folders, one a label, found {}", options.dataset, asked->labels.size(),
                  folder.classes.size()),
      options.labels.empty() ? "--labels FILE names one class per line, in the order of the folders' names" : "");
}

// Adds to the options' images and texts what files list.
Result<Asked> ReadAsked(InferOptions* options) {
  Asked asked;
  if (!options->labels.empty()) {
    ANEMONE_ASSIGN(asked.labels, ReadTexts(options->labels, "a label"));
  }
  if (options->dataset.empty()) {
    options->texts.insert(options->texts.end(), asked.labels.begin(), asked.labels.end());
    asked.labels = options->texts;
  }
  if (!options->image_list.empty()) {
    ANEMONE_ASSIGN(const std::vector<std::string> listed, ReadLines(options->image_list));
    if (listed.empty())
      return InvalidArgument("expected a picture's path on each line, found none").In(options->image_list);
    options->images.insert(options->images.end(), listed.begin(), listed.end());
  }
  ANEMONE_TRY(ExpandImages(&options->images));
  ANEMONE_TRY(CheckOptions(*options));
  ANEMONE_ASSIGN(asked.templates, TemplatesOf(*options));
  if (!options->dataset.empty()) ANEMONE_TRY(OpenDataset(*options, &asked));
  return asked;
}

Result<ClipModel> LoadModel(const Checkpoint& checkpoint, const InferOptions& options, size_t pictures) {
  ClipOptions clip_options;
  clip_options.threads = static_cast<int>(globals().threads);
  clip_options.cancelled = [] { return Heed() != 0; };
  const bool is_int8 = options.compute == "int8";
  if (options.compute != "fp32") {
    clip_options.compute = is_int8 ? ClipCompute::kInt8 : ClipCompute::kBf16;
    if (is_int8 ? !ClipHasInt8() : !ClipHasBf16()) {
      Note(fmt::format("this processor multiplies no {}: rounded values are multiplied in fp32, no faster",
                       options.compute));
    }
  }
  clip_options.keep_weights = pictures > options.batch;
  ClipLoad load;
  load.preset = options.preset;
  load.strict = !options.leave_unknown;
  std::vector<std::string> notes;
  load.notes = &notes;
  Result<ClipModel> loaded = LoadClip(checkpoint, clip_options, load);
  if (!loaded.ok()) return loaded.status().In(options.model);
  Notes(notes, 1);
  ANEMONE_ASSIGN(const internal::GemmChoice gemm, internal::ChooseGemm(internal::GemmShapeOf(loaded->spec())));
  Note("products: " + gemm.ToString(), 1);
  return loaded;
}

}  // namespace

Result<uint64_t> Infer(InferOptions options) {
  ANEMONE_ASSIGN(const Asked asked, ReadAsked(&options));
  const std::vector<std::string>& labels = asked.labels;
  BadPictures bad(options.strict, options.images.size() + asked.folder.items.size());
  const ProgressFn progress = MakeProgress();
  ANEMONE_ASSIGN(const Checkpoint checkpoint, OpenSource(options.model, progress));
  Sources sources;
  sources.Add(checkpoint);
  ANEMONE_ASSIGN(ClipModel model,
                 LoadModel(checkpoint, options, std::max(options.images.size(), asked.folder.items.size())));
  const bool compares = !options.dataset.empty() || (!options.images.empty() && !options.texts.empty());
  ANEMONE_TRY(HasTowersFor(options, compares, model.spec()).In(options.model));

  PictureReader reader(options.images, options.batch, model.spec());
  PictureAnswers answers(options, labels);
  if (!labels.empty()) {
    const Result<TextEncoder> tokenizer = LoadTokenizer(checkpoint, model.spec());
    if (!tokenizer.ok()) return tokenizer.status().In(options.model);
    if (!options.dataset.empty()) {
      ANEMONE_TRY(RunDataset(model, *tokenizer, options, asked.folder, labels, asked.templates, &bad, progress));
      ANEMONE_TRY(sources.CheckUnchanged());
      return bad.count();
    }
    ANEMONE_ASSIGN(ClipFeatures texts, EncodeLabels(model, *tokenizer, labels, asked.templates, progress));
    answers.SetTexts(std::move(texts));
  }
  if (compares) ANEMONE_TRY(answers.ReadScale(model));
  answers.PrintHead();

  ClipFeatures all_images;
  for (size_t at = 0; at < options.images.size(); at += options.batch) {
    const size_t count = std::min<size_t>(options.batch, options.images.size() - at);
    ANEMONE_ASSIGN(const Pictures read, reader.Next());
    ANEMONE_TRY(bad.Add(read.failures));
    ClipFeatures features;
    if (!read.loaded.empty()) {
      ANEMONE_ASSIGN(features, model.EncodeImages(read.pixels));
      features.Normalize();
    }
    ANEMONE_TRY(sources.CheckUnchanged());
    ANEMONE_TRY(answers.Add(at, read.loaded, features));
    if (!options.embeddings.empty()) AppendRows(features, read.loaded, count, &all_images);
    if (progress && !progress("images", at + count, options.images.size())) return Interrupted();
  }
  ANEMONE_TRY(sources.CheckUnchanged());
  ANEMONE_TRY(answers.Write(all_images));
  return bad.count();
}

int InferStatus(const Result<uint64_t>& unread) {
  if (!unread.ok()) return Report(unread.status());
  if (*unread == 0) return kDone;
  if (const std::string more = AndMore(*unread, "pictures"); !more.empty()) Warn(more);
  Warn(Counted(*unread, "picture") + " could not be read");
  return kNo;
}

std::function<int()> DeclareInfer(CLI::App& app) {
  auto options = std::make_shared<InferOptions>();
  app.add_option("MODEL", options->model, "A CLIP: anything that convert reads")->required();
  Topic(app, "Input");
  app.add_option("--image", options->images,
                 "Images (JPEG, PNG, WebP, GIF, BMP, PPM, TIFF), or folders of them; takes many, may be repeated")
      ->type_name("FILE");
  app.add_option("--image-list", options->image_list, "File with one image path per line")->type_name("FILE");
  app.add_option("--text", options->texts, "Labels; takes many, may be repeated")->type_name("TEXT");
  app.add_option("--labels", options->labels, "File with one label per line")->type_name("FILE");
  app.add_option("--templates", options->templates,
                 "File with one prompt per line, {} for the label: a label's features are the mean over its prompts")
      ->type_name("FILE");
  app.add_option("--dataset", options->dataset,
                 "Print zero-shot accuracy on a folder with one subfolder per class (labels: their names, or --labels)")
      ->type_name("DIR");
  app.add_flag("--imagenet", options->imagenet, "With --dataset: OpenAI's 1,000 names and 80 templates for ImageNet");
  Topic(app, "Model");
  SuggestPresets(app.add_option("--preset", options->preset, "Size by name, for a CLIP without a config"));
  app.add_option("--logit-scale", options->logit_scale,
                 "Scale in place of the checkpoint's own (NeMo's script uses 100)")
      ->type_name("X");
  OneOf(app.add_option("--compute", options->compute, "Precision of products (default: fp32)"),
        {"fp32", "bf16", "int8"});
  app.add_option("--batch", options->batch, "Images encoded at once (default: 16)")
      ->check(CLI::Range(1, 4096).description(""))
      ->type_name("N");
  app.add_flag("--no-strict", options->leave_unknown, "Ignore unknown fields and tensors");
  Topic(app, "Output");
  CLI::Option* top = app.add_option("--top", options->top,
                                    "Print a table of the K most likely labels (default: 5, on a terminal only)")
                         ->check(CLI::Range(uint64_t{1}, uint64_t{1'000'000}).description(""))
                         ->type_name("K");
  CLI::Option* nemo = app.add_flag("--nemo", options->nemo, "Print NeMo's line for each image, on a terminal too");
  CLI::Option* json = app.add_flag("--json", options->json, "JSON Lines: one object per image");
  CLI::Option* csv =
      app.add_flag("--csv", options->csv, "CSV: a row for each image, a column for each label's probability");
  top->excludes(nemo)->excludes(json)->excludes(csv);
  nemo->excludes(json)->excludes(csv);
  json->excludes(csv);
  app.add_option("--embeddings", options->embeddings,
                 "Write the normalized features: .safetensors with `image` and `text`, or .npy")
      ->type_name("FILE");
  app.add_option("--html", options->html, "Write a page that shows each image, its labels and their probabilities")
      ->type_name("FILE.html");
  app.add_flag("--force", options->force, "Replace an existing --embeddings or --html file");
  app.add_flag("--strict", options->strict, "Stop at the first image that cannot be read");
  return [options] { return InferStatus(Infer(*options)); };
}

}  // namespace anemone::cli
