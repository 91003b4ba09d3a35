// Across the C boundary: no exception leaves, a Status becomes an anemone_status, text becomes malloc's.
#ifndef ANEMONE_C_API_CALL_H_
#define ANEMONE_C_API_CALL_H_

#include <exception>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

#include "anemone/c.h"
#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone::c_api {

// Null for success. Does not throw: where there is no memory for a status, it is one that was made before.
anemone_status* ToC(const Status& status) noexcept;

// Runs `call`, which returns a Status, and turns exceptions into statuses.
template <typename Call>
anemone_status* Guarded(Call call) noexcept {
  try {
    return ToC(call());
  } catch (const std::bad_alloc&) {
    return ToC(OutOfMemory());
  } catch (const std::exception& error) {
    return ToC(Internal(error.what()));
  } catch (...) {
    return ToC(Internal("an exception of an unknown type"));
  }
}

// Memory that anemone_free frees. Throws std::bad_alloc.
void* Allocate(size_t bytes);
// The bytes and a NUL after them, in such memory.
char* CopyText(std::string_view text);

inline Status GiveJson(const ConfigNode& node, char** json) {
  *json = CopyText(Config(node).ToJson(-1));
  return {};
}

// Moves `value` into a handle of type T and hands it over.
template <typename T, typename... Value>
Status Give(T** out, Value&&... value) {
  *out = std::make_unique<T>(std::forward<Value>(value)...).release();
  return {};
}

}  // namespace anemone::c_api

#endif  // ANEMONE_C_API_CALL_H_
