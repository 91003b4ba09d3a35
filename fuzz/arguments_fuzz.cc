// Calls of the C API, as the Python package makes them. The file `calls` has one call a line: a function and its
// arguments, parted by tabs, options and values as JSON. The other files are the checkpoint. Every call must answer or
// return an error.
#include <array>

#include "anemone/c.h"
#include "folder.h"

namespace {

using anemone::fuzz::File;

struct Checkpoint {
  anemone_checkpoint* held = nullptr;
  Checkpoint() = default;
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;
  ~Checkpoint() { anemone_checkpoint_free(held); }
  anemone_checkpoint** Anew() {
    anemone_checkpoint_free(held);
    held = nullptr;
    return &held;
  }
};

bool Ok(anemone_status* status) {
  const anemone_kind kind = anemone_status_kind(status);
  const std::string message = anemone_status_message(status), details = anemone_status_details(status);
  if (kind == ANEMONE_INTERNAL || (kind != ANEMONE_OK && message.empty()) || !details.starts_with('{')) {
    std::fprintf(stderr, "%s\n", message.c_str());
    std::abort();
  }
  anemone_status_free(status);
  return kind == ANEMONE_OK;
}

// The same of a call that answers in JSON.
template <typename Call>
void Answer(const Call& call) {
  char* json = nullptr;
  if (Ok(call(&json)) && json == nullptr) std::abort();
  anemone_free(json);
}

void ReadTensor(const anemone_checkpoint* checkpoint, const std::string& name, size_t number) {
  constexpr uint64_t kMaxBytes = 1 << 20;
  anemone_tensor* tensor = nullptr;
  if (!Ok(anemone_tensor_named(checkpoint, name.c_str(), &tensor)) &&
      !Ok(anemone_tensor_at(checkpoint, number, &tensor)) && !Ok(anemone_training_tensor(checkpoint, number, &tensor)))
    return;
  anemone_tensor* part = nullptr;
  if (Ok(anemone_tensor_narrow(tensor, number % 5, number, 1, &part))) {
    anemone_tensor_free(tensor);
    tensor = part;
  }
  std::string bytes(std::min(anemone_tensor_bytes(tensor), kMaxBytes), '\0');
  Ok(anemone_tensor_read(tensor, bytes.data(), bytes.size()));
  anemone_tensor_free(tensor);
}

class Caller {
 public:
  explicit Caller(const std::string& folder) : folder_(folder), out_(folder + ".out") {}
  ~Caller() {
    std::error_code ignored;
    std::filesystem::remove_all(out_, ignored);
  }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  // `words`: the function, and up to three arguments.
  void Call(const std::array<std::string, 4>& words) {
    const auto& [function, first, second, third] = words;
    const char* const options = first.empty() ? nullptr : first.c_str();
    if (function == "open") Ok(anemone_open(folder_.c_str(), options, nullptr, model_.Anew()));
    if (function == "restore") Ok(anemone_restore(folder_.c_str(), options, model_.Anew()));
    if (function == "create") Ok(anemone_create(options, model_.Anew()));
    if (function == "convert")
      Answer([&](char** json) { return anemone_convert(folder_.c_str(), out_.c_str(), options, nullptr, json); });
    if (function == "diff")
      Answer([&](char** json) { return anemone_diff(folder_.c_str(), folder_.c_str(), options, nullptr, json); });
    if (model_.held != nullptr) CallOnModel(function, first, second, third);
  }

 private:
  void CallOnModel(const std::string& function, const std::string& first, const std::string& second,
                   const std::string& third) {
    anemone_checkpoint* const model = model_.held;
    const char* const value = second.empty() ? nullptr : second.c_str();
    if (function == "info") Answer([&](char** json) { return anemone_info(model, json); });
    if (function == "list") Answer([&](char** json) { return anemone_tensor_list(model, json); });
    if (function == "training") Answer([&](char** json) { return anemone_training(model, json); });
    if (function == "get") Answer([&](char** json) { return anemone_config_get(model, first.c_str(), json); });
    if (function == "set") Ok(anemone_config_set(model, first.c_str(), value));
    if (function == "tensor") ReadTensor(model, first, second.size());
    if (function == "metadata") Ok(anemone_add_metadata(model, first.c_str(), second.c_str()));
    if (function == "artifact") Ok(anemone_add_artifact(model, first.c_str(), second.data(), second.size()));
    if (function == "add") Add(first, second, third);
    if (function == "save")
      Answer([&](char** json) {
        return anemone_save(model, out_.c_str(), first.empty() ? nullptr : first.c_str(), nullptr, json);
      });
    if (function == "translate") {
      Checkpoint translated;
      Ok(anemone_translate(model, first.c_str(), translated.Anew()));
    }
    if (function == "clip") {
      anemone_clip* clip = nullptr;
      Ok(anemone_clip_load(model, first.empty() ? nullptr : first.c_str(), &clip));
      anemone_clip_free(clip);
    }
  }

  // A name, a dtype, and a size a letter.
  void Add(const std::string& name, const std::string& dtype, const std::string& sizes) {
    static const std::string data(4096, '\1');
    std::vector<uint64_t> shape;
    for (const char c : sizes.substr(0, 8)) shape.push_back(static_cast<uint8_t>(c) - uint64_t{'0'});
    uint64_t size = 4;
    for (const uint64_t length : shape) size = std::min<uint64_t>(size * std::max<uint64_t>(length, 1), data.size());
    Ok(anemone_add_tensor(model_.held, name.c_str(), dtype.c_str(), shape.size(), shape.data(), data.data(), size));
  }

  const std::string folder_, out_;
  Checkpoint model_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ::setenv("HF_HUB_OFFLINE", "1", 1);
  ::setenv("HF_HOME", "/nowhere", 1);
  constexpr size_t kMaxCalls = 16;
  const std::vector<File> files = anemone::fuzz::FilesOf(data, size);
  const File* const calls = anemone::fuzz::FindFile(files, "calls");
  // A path may lead to what is not ours.
  if (calls == nullptr || calls->content.find("..") != std::string::npos) return 0;
  std::vector<File> others;
  for (const File& file : files) {
    if (file.name != "calls") others.push_back(file);
  }
  const anemone::fuzz::FuzzFolder folder(others);
  Caller caller(folder.path());
  std::string_view rest = calls->content;
  for (size_t call = 0; call < kMaxCalls && !rest.empty(); ++call) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    std::array<std::string, 4> words;
    for (std::string& word : words) {
      const std::string_view found = line.substr(0, line.find('\t'));
      word = found.substr(0, found.find('\0'));
      line.remove_prefix(std::min(found.size() + 1, line.size()));
    }
    caller.Call(words);
  }
  return 0;
}
