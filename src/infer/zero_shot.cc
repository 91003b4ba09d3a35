#include "infer/zero_shot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <span>
#include <system_error>
#include <utility>

#include "base/listing.h"
#include "base/lower_case.h"
#include "base/tree.h"
#include "container/text.h"
#include "infer/clip_source.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;

constexpr size_t kTextsAtOnce = 256;

Status Advance(const ProgressFn& progress, const char* stage, uint64_t done, uint64_t total) {
  if (!progress || progress(stage, done, total)) return {};
  return Interrupted();
}

// The names of pictures, of formats that are decoded and of others.
constexpr std::string_view kDecoded[] = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp",
                                         ".dib", ".gif",  ".ppm", ".pgm",  ".pbm", ".pnm",  ".tif",  ".tiff"};
constexpr std::string_view kForeign[] = {".avif", ".heic", ".heif", ".jp2", ".j2k", ".jxl", ".svg", ".ico", ".tga",
                                         ".psd",  ".pcx",  ".dds",  ".exr", ".hdr", ".pfm", ".raw", ".dng", ".eps"};

bool HasExtension(const fs::path& path, std::span<const std::string_view> extensions) {
  const std::string extension = LowerCase(path.extension().string());
  return std::find(extensions.begin(), extensions.end(), extension) != extensions.end();
}

// macOS puts a folder of hidden files into its archives.
bool IsHidden(std::string_view name) { return name.starts_with('.') || name == "__MACOSX"; }

// `above`: the folders around this one, links resolved.
Status CollectImages(const fs::path& folder, std::vector<fs::path>& above, std::vector<std::string>& found,
                     LeftOut* left_out) {
  std::error_code error;
  const fs::path resolved = fs::canonical(folder, error);
  if (error) return ErrnoStatus(error.value(), "cannot follow").In(folder.string());
  if (std::find(above.begin(), above.end(), resolved) != above.end()) {
    left_out->loops.Add(folder.string());
    return {};
  }
  above.push_back(resolved);
  ANEMONE_ASSIGN(const std::vector<std::string> names, ListDirectory(folder.string()));
  for (const std::string& name : names) {
    const fs::path path = folder / name;
    if (IsHidden(name)) {
      left_out->hidden.Add(path.string());
    } else if (fs::is_directory(path, error)) {
      ANEMONE_TRY(CollectImages(path, above, found, left_out));
    } else if (HasExtension(path, kDecoded)) {
      found.push_back(path.string());
    } else {
      (HasExtension(path, kForeign) ? left_out->foreign : left_out->nameless).Add(path.string());
    }
  }
  above.pop_back();
  return {};
}

Result<ClipFeatures> EncodeTexts(ClipModel& model, const TextEncoder& encode, const std::vector<std::string>& texts,
                                 const ProgressFn& progress) {
  ClipFeatures all;
  for (size_t at = 0; at < texts.size(); at += kTextsAtOnce) {
    std::vector<std::vector<int32_t>> ids;
    for (size_t i = at; i < std::min(texts.size(), at + kTextsAtOnce); ++i) {
      Result<std::vector<int32_t>> encoded = encode(texts[i]);
      if (!encoded.ok()) return encoded.status().In(fmt::format("text {}", internal::Quoted(texts[i])));
      ids.push_back(*std::move(encoded));
    }
    ANEMONE_ASSIGN(const ClipFeatures features, model.EncodeTexts(ids));
    all.width = features.width;
    all.count += features.count;
    all.values.insert(all.values.end(), features.values.begin(), features.values.end());
    ANEMONE_TRY(Advance(progress, "texts", at + ids.size(), texts.size()));
  }
  all.Normalize();
  return all;
}

}  // namespace

Result<std::string> FillTemplate(std::string_view prompt, std::string_view label) {
  std::string text;
  bool filled = false;
  for (size_t at = 0; at < prompt.size();) {
    const size_t slot = prompt.find("{}", at);
    text += prompt.substr(at, slot - at);
    if (slot == std::string_view::npos) break;
    text += label;
    filled = true;
    at = slot + 2;
  }
  if (!filled) return InvalidArgument(fmt::format("expected a template with {{}} in it, found '{}'", prompt));
  return text;
}

Result<ClipFeatures> EncodeLabels(ClipModel& model, const TextEncoder& encode, const std::vector<std::string>& labels,
                                  const std::vector<std::string>& templates, const ProgressFn& progress) {
  if (templates.empty()) return EncodeTexts(model, encode, labels, progress);
  std::vector<std::string> texts;
  texts.reserve(labels.size() * templates.size());
  for (const std::string& label : labels) {
    for (const std::string& prompt : templates) {
      ANEMONE_ASSIGN(std::string text, FillTemplate(prompt, label));
      texts.push_back(std::move(text));
    }
  }
  ANEMONE_ASSIGN(const ClipFeatures features, EncodeTexts(model, encode, texts, progress));
  ClipFeatures means;
  means.count = labels.size();
  means.width = features.width;
  means.values.resize(means.count * means.width);
  for (size_t i = 0; i < labels.size(); ++i) {
    for (size_t k = 0; k < means.width; ++k) {
      double sum = 0;
      for (size_t t = 0; t < templates.size(); ++t)
        sum += features.values[(i * templates.size() + t) * means.width + k];
      means.values[i * means.width + k] = static_cast<float>(sum / static_cast<double>(templates.size()));
    }
  }
  means.Normalize();
  return means;
}

std::vector<std::string> LeftOut::Notes() const {
  std::vector<std::string> notes;
  for (const auto& [kind, what] :
       {std::pair{&hidden, "hidden files and folders"}, std::pair{&loops, "links to a folder around them"},
        std::pair{&foreign, "pictures of a format that is not decoded"},
        std::pair{&nameless, "files that are no pictures by their names"}}) {
    if (kind->count > 0) notes.push_back(fmt::format("left out: {} {}, first {}", kind->count, what, kind->first));
  }
  return notes;
}

namespace {

// As FindImages; a link to a folder of `above` is a loop, too.
Result<std::vector<std::string>> FindImagesBelow(std::vector<fs::path> above, const std::string& folder,
                                                 LeftOut* left_out) {
  std::vector<std::string> found;
  ANEMONE_TRY(CollectImages(folder, above, found, left_out));
  if (found.empty()) {
    const std::vector<std::string> notes = left_out->Notes();
    return NotFound("expected pictures (.jpg, .png, .webp, .gif, .bmp, .ppm, .tif), found none",
                    notes.empty() ? "" : notes.front())
        .In(folder);
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

Result<std::vector<std::string>> FindImages(const std::string& folder, LeftOut* left_out) {
  return FindImagesBelow({}, folder, left_out);
}

Result<ImageFolder> OpenImageFolder(const std::string& path) {
  ImageFolder folder;
  std::error_code error;
  if (!fs::is_directory(path, error)) return NotFound("no such folder").In(path);
  ANEMONE_ASSIGN(const std::vector<std::string> names, ListDirectory(path));
  for (const std::string& name : names) {
    const fs::path entry = fs::path(path) / name;
    if (IsHidden(name)) {
      folder.left_out.hidden.Add(entry.string());
    } else if (fs::is_directory(entry, error)) {
      folder.classes.push_back(name);
    } else {
      folder.left_out.nameless.Add(entry.string());  // torchvision takes no picture beside the classes
    }
  }
  if (folder.classes.empty()) return NotFound("expected a folder for each class, found none").In(path);
  const fs::path root = fs::canonical(path, error);
  bool is_nested = true;
  for (size_t i = 0; i < folder.classes.size(); ++i) {
    ANEMONE_ASSIGN(const std::vector<std::string> images,
                   FindImagesBelow({root}, (fs::path(path) / folder.classes[i]).string(), &folder.left_out));
    for (const std::string& image : images) {
      is_nested = is_nested && fs::path(image).parent_path() != fs::path(path) / folder.classes[i];
      folder.items.push_back({image, i});
    }
  }
  if (is_nested) folder.nested = (fs::path(path) / folder.classes.back()).string();
  return folder;
}

std::vector<std::string> ImageFolder::Notes() const {
  std::vector<std::string> notes = left_out.Notes();
  if (!nested.empty()) {
    notes.push_back(fmt::format(
        "{} are taken as classes, and all of them have their pictures in folders: if those are the classes, give {}",
        Listing(classes), nested));
  }
  return notes;
}

Result<Accuracy> ZeroShotAccuracy(ClipModel& model, const ImageFolder& folder, const ClipFeatures& classifier,
                                  size_t batch, const OnBadPictures& on_bad, const ProgressFn& progress) {
  if (classifier.count != folder.classes.size()) {
    return InvalidArgument(
        fmt::format("expected {} labels, one a folder, found {}", folder.classes.size(), classifier.count));
  }
  Accuracy accuracy;
  accuracy.classes.resize(folder.classes.size());
  std::vector<double> cosines(classifier.count);
  std::vector<std::string> paths;
  paths.reserve(folder.items.size());
  for (const ImageFolder::Item& item : folder.items) paths.push_back(item.path);
  PictureReader reader(std::move(paths), batch, model.spec());
  for (size_t at = 0; at < folder.items.size(); at += batch) {
    const size_t count = std::min(batch, folder.items.size() - at);
    ANEMONE_ASSIGN(const Pictures pictures, reader.Next());
    if (!pictures.failures.empty()) ANEMONE_TRY(on_bad(pictures.failures));
    ClipFeatures features;
    if (!pictures.loaded.empty()) {
      ANEMONE_ASSIGN(features, model.EncodeImages(pictures.pixels));
    }
    for (size_t i = 0; i < pictures.loaded.size(); ++i) {
      const float* image = features.values.data() + i * features.width;
      for (size_t c = 0; c < classifier.count; ++c) {
        const float* row = classifier.values.data() + c * classifier.width;
        double dot = 0;
        for (size_t k = 0; k < features.width; ++k) dot += double{image[k]} * row[k];
        cosines[c] = dot;
      }
      const size_t target = folder.items[at + pictures.loaded[i]].target;
      size_t likelier = 0;
      for (size_t c = 0; c < cosines.size(); ++c) {
        if (cosines[c] > cosines[target] || (cosines[c] == cosines[target] && c < target)) ++likelier;
      }
      for (Accuracy::Class* to : {&accuracy.classes[target], &accuracy.total}) {
        ++to->images;
        if (likelier < 1) ++to->top1;
        if (likelier < 5) ++to->top5;
      }
    }
    ANEMONE_TRY(Advance(progress, "images", at + count, folder.items.size()));
  }
  return accuracy;
}

}  // namespace anemone
