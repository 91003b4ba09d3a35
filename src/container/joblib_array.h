// Arrays as joblib keeps them: an object in the pickle, and behind its BUILD the bytes of the array, or a pickle of its
// own for objects [joblib numpy_pickle.py, NumpyArrayWrapper; since 0.10].
#ifndef ANEMONE_CONTAINER_JOBLIB_ARRAY_H_
#define ANEMONE_CONTAINER_JOBLIB_ARRAY_H_

#include <cstdint>
#include <optional>
#include <string_view>

namespace anemone::internal {

inline constexpr std::string_view kJoblibArray = "joblib.numpy_pickle NumpyArrayWrapper";
inline constexpr uint64_t kObjectItem = 0;

// Bytes of an element of numpy.dtype(text), kObjectItem for objects. Nothing for a text that NumPy does not pickle, or
// that depends on more than itself.
std::optional<uint64_t> ItemSize(std::string_view dtype);

// The attributes of an array's object, as far as its state has told them.
struct JoblibArray {
  std::optional<uint64_t> count;      // of elements
  std::optional<uint64_t> item_size;  // of each
  bool has_subclass = false, has_order = false;
  bool is_padded = false;  // a byte that says how many others follow it is before the elements; joblib 1.1 skips none
  bool is_odd = false;     // it has an attribute that joblib does not write: it may take a method's place

  bool is_known() const { return count && item_size && has_subclass && has_order && !is_odd; }
};

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_JOBLIB_ARRAY_H_
