// How a torch file names the storage of a tensor: the persistent id. Rules TZ-10, TZ-11, TL-4: docs/formats/pytorch.md.
#ifndef ANEMONE_FORMAT_TORCH_STORAGE_ID_H_
#define ANEMONE_FORMAT_TORCH_STORAGE_ID_H_

#include <cstdint>
#include <optional>
#include <string>

#include "anemone/dtype.h"
#include "anemone/status.h"
#include "anemone/value.h"

namespace anemone {

// "torch FloatStorage", "torch.cuda HalfStorage", "torch.storage UntypedStorage": where the elements are, how many.
struct StorageId {
  std::optional<DType> dtype;  // none: untyped, counted in bytes
  std::string key;
  uint64_t numel = 0;
  uint64_t view_offset = 0;  // in elements, of a legacy view
};

// Errors: Corrupt, Unsupported for a type of elements that there is no word for.
Result<StorageId> ParseStorageId(const ValueNode* node);

// In the legacy layout of torch.save(model), a persistent id may also be ('module', class, source file, source).
bool IsModuleClass(const ValueNode& node);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_STORAGE_ID_H_
