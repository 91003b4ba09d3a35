#include "format/dist/torch_dist_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>

#include "base/packed_source.h"
#include "base/text_hash.h"
#include "container/pickle_opcodes.h"
#include "container/pickle_stream.h"

namespace anemone {
namespace {

namespace op = internal::op;

// Writes the pickle as CPython pickles shared objects: what is used more than once is memoised where it comes first.
// So the values are walked twice: uses are counted, then bytes are written. Words and classes have the first memos,
// whose gets take two bytes instead of five: each chunk has more than twenty of them.
class IndexWriter {
 public:
  IndexWriter(size_t keys, const std::function<IndexedKey(size_t)>& key_of, const std::vector<ItemPlace>& places,
              PlanFile& file)
      : keys_(keys), key_of_(key_of), places_(places), file_(file), names_(keys), offsets_(places.size()) {}

  void Run() {
    for (const bool counts : {true, false}) {
      counts_ = counts;
      next_shared_ = 0;
      next_memo_ = static_cast<uint32_t>(words_.size() + globals_.size() + properties_.size());
      for (auto* words : {&words_, &globals_, &properties_}) {
        for (auto& [word, use] : *words) use.is_written = false;
      }
      stream_.bytes = "\x80\x02";
      Object("torch.distributed.checkpoint.metadata Metadata");
      Attributes({{"state_dict_metadata", [this] { Dict(keys_, [this](size_t i) { AddKey(i); }); }},
                  {"planner_data", [this] { Dict(keys_, [this](size_t i) { AddPath(i); }); }},
                  {"storage_data", [this] { AddPlaces(); }},
                  {"mcore_data", [this] { AddShapes(); }}});
      stream_.Emit(op::kBuild);
      stream_.Emit(op::kStop);
      Flush();
    }
  }

 private:
  struct Use {
    size_t count = 0;
    uint32_t memo = 0;
    bool is_written = false;
  };
  using Uses = internal::TextMap<Use>;
  using Write = std::function<void()>;
  static constexpr size_t kFlushBytes = 60 << 10;

  // Deflated: an index repeats itself, and as it is would take as much memory as all else that a plan has of tensors.
  void Flush() {
    if (!counts_) file_.Append(Whole(PackedSource(stream_.bytes, file_.path)));
    stream_.bytes.clear();
  }

  // Memoised, if it has another use.
  template <typename First>
  void Shared(Use& use, First first) {
    if (use.is_written) {
      use.count += counts_ ? 1 : 0;
      if (use.count > 1) stream_.Get(use.memo);
      return;
    }
    use.is_written = true;
    if (counts_) use.count = 1;
    first();
    if (use.count > 1) stream_.Put(use.memo = next_shared_++);
  }
  void Word(const std::string& text) {
    Shared(words_[text], [&] { stream_.Text(text); });
  }
  void Global(const std::string& name) {
    Shared(globals_[name], [&] { stream_.Global(name); });
  }
  void Properties(DType dtype) {
    const std::string name = fmt::format("torch {}", Info(dtype).torch);
    Shared(properties_[name], [&] {
      // Called and not built from a state, whose enum torch 2.2 knows by another name.
      Global("torch.distributed.checkpoint.metadata TensorProperties");
      Global(name);
      stream_.Tuple(1);
      stream_.Emit(op::kReduce);
    });
  }

  // Pairs in batches; `pair` writes one key and its value.
  template <typename Pair>
  void Dict(size_t pairs, Pair pair) {
    Batches(op::kEmptyDict, op::kSetItem, op::kSetItems, pairs, pair);
  }
  template <typename Item>
  void Batches(uint8_t empty, uint8_t single, uint8_t several, size_t items, Item item) {
    constexpr size_t kBatch = internal::PickleStream::kBatch;
    stream_.Emit(empty);
    for (size_t from = 0; from < items; from += kBatch) {
      const size_t end = std::min(items, from + kBatch);
      if (end - from > 1) stream_.Emit(op::kMark);
      for (size_t i = from; i < end; ++i) {
        item(i);
        if (stream_.bytes.size() > kFlushBytes) Flush();
      }
      stream_.Emit(end - from > 1 ? several : single);
    }
  }
  void Attributes(std::initializer_list<std::pair<const char*, Write>> attributes) {
    Dict(attributes.size(), [&](size_t i) {
      Word((attributes.begin() + i)->first);
      (attributes.begin() + i)->second();
    });
  }
  // cls.__new__(cls); its state may follow.
  void Object(const std::string& cls) {
    Global(cls);
    stream_.Tuple(0);
    stream_.Emit(op::kNewObj);
  }
  void Built(const std::string& cls, std::initializer_list<std::pair<const char*, Write>> attributes) {
    Object(cls);
    Attributes(attributes);
    stream_.Emit(op::kBuild);
  }
  void Tuple(const Shape& numbers) {
    if (numbers.size() > 3) stream_.Emit(op::kMark);
    for (const uint64_t number : numbers) stream_.Int(static_cast<int64_t>(number));
    stream_.Tuple(numbers.size());
  }
  void Size(const Shape& sizes) {
    Global("torch Size");
    Tuple(sizes);
    stream_.Tuple(1);
    stream_.Emit(op::kReduce);
  }

  void AddKey(size_t i) {
    const IndexedKey key = key_of_(i);
    if (i == 0) next_offset_ = 0;
    stream_.Text(key.name);
    stream_.Put(names_[i] = next_memo_++);
    if (!key.dtype) {
      ++next_offset_;
      return Object("torch.distributed.checkpoint.metadata BytesStorageMetadata");
    }
    Use sizes{.count = key.chunks.size()};
    const auto add_chunk = [&](size_t chunk) {
      Built("torch.distributed.checkpoint.metadata ChunkStorageMetadata",
            {{"offsets",
              [&] {
                Size(key.chunks[chunk].offsets);
                stream_.Put(offsets_[next_offset_++] = next_memo_++);
              }},
             {"sizes", [&] {
                if (sizes.is_written) return stream_.Get(sizes.memo);
                sizes.is_written = true;
                Size(key.chunk_shape);
                if (sizes.count > 1) stream_.Put(sizes.memo = next_memo_++);
              }}});
    };
    Built("torch.distributed.checkpoint.metadata TensorStorageMetadata",
          {{"properties", [&] { Properties(*key.dtype); }},
           {"size", [&] { Size(key.shape); }},
           {"chunks", [&] { Batches(op::kEmptyList, op::kAppend, op::kAppends, key.chunks.size(), add_chunk); }}});
  }

  void AddPath(size_t i) {
    stream_.Get(names_[i]);
    stream_.Get(names_[i]);
    stream_.Tuple(1);
  }

  void AddPlaces() {
    size_t key_number = 0, chunk = 0;
    IndexedKey key;
    Dict(places_.size(), [&](size_t place) {
      if (chunk == 0) key = key_of_(key_number);
      while (key.dtype && key.chunks.empty()) key = key_of_(++key_number);  // it has no item
      AddPlace(key, key_number, chunk, place);
      if (++chunk < key.chunks.size()) return;
      chunk = 0;
      ++key_number;
    });
  }
  void AddPlace(const IndexedKey& key, size_t key_number, size_t chunk, size_t place) {
    const Write name = [&] { stream_.Get(names_[key_number]); };
    const std::string index = "torch.distributed.checkpoint.metadata MetadataIndex";
    if (!key.dtype) {
      Built(index, {{"fqn", name}, {"index", [&] { stream_.Emit(op::kNone); }}});
    } else {
      Built(index, {{"fqn", name},
                    {"index", [&] { stream_.Int(static_cast<int64_t>(chunk)); }},
                    {"offset", [&] { stream_.Get(offsets_[place]); }}});
    }
    const size_t rank = key.dtype ? key.chunks[chunk].rank : 0;
    Built("torch.distributed.checkpoint.filesystem _StorageInfo",
          {{"relative_path", [&] { Word(FileOfRank(rank)); }},
           {"offset", [&] { stream_.Int(static_cast<int64_t>(places_[place].offset)); }},
           {"length", [&] { stream_.Int(static_cast<int64_t>(places_[place].length)); }}});
  }

  // What Megatron-core adds: the shapes of tensors that are stored in another.
  void AddShapes() {
    size_t tensors = 0, key_number = 0;
    for (size_t i = 0; i < keys_; ++i) tensors += key_of_(i).dtype ? 1 : 0;
    Dict(tensors, [&](size_t) {
      IndexedKey key = key_of_(key_number);
      while (!key.dtype) key = key_of_(++key_number);
      stream_.Get(names_[key_number++]);
      Dict(key.original_shape ? 1 : 0, [&](size_t) {
        Word("nd_reformulated_orig_global_shape");
        Tuple(*key.original_shape);
      });
    });
  }

  const size_t keys_;
  const std::function<IndexedKey(size_t)>& key_of_;
  const std::vector<ItemPlace>& places_;
  PlanFile& file_;
  bool counts_ = false;
  internal::PickleStream stream_;
  uint32_t next_shared_ = 0, next_memo_ = 0;  // of words and classes, of all else
  Uses words_, globals_, properties_;
  std::vector<uint32_t> names_, offsets_;  // memos: of the keys' names, of the chunks' offsets by place
  size_t next_offset_ = 0;
};

}  // namespace

std::string FileOfRank(size_t rank) { return fmt::format("__{}_0.distcp", rank); }

void AppendTorchDistIndex(size_t keys, const std::function<IndexedKey(size_t)>& key_of,
                          const std::vector<ItemPlace>& places, PlanFile& file) {
  IndexWriter(keys, key_of, places, file).Run();
}

}  // namespace anemone
