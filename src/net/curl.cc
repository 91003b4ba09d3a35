#include "net/curl.h"

#include "base/shared_library.h"

namespace anemone::internal {
namespace {

Result<Curl> Load() {
  ANEMONE_ASSIGN(const SharedLibrary library, SharedLibrary::Open({"libcurl.so.4", "libcurl.so"}));
  Curl curl{};
  decltype(&curl_global_init) global_init = nullptr;
  ANEMONE_TRY(library.Find("curl_global_init", global_init));
  ANEMONE_TRY(library.Find("curl_easy_init", curl.easy_init));
  ANEMONE_TRY(library.Find("curl_easy_cleanup", curl.easy_cleanup));
  ANEMONE_TRY(library.Find("curl_easy_reset", curl.easy_reset));
  ANEMONE_TRY(library.Find("curl_easy_setopt", curl.easy_setopt));
  ANEMONE_TRY(library.Find("curl_easy_getinfo", curl.easy_getinfo));
  ANEMONE_TRY(library.Find("curl_easy_strerror", curl.easy_strerror));
  ANEMONE_TRY(library.Find("curl_getdate", curl.getdate));
  ANEMONE_TRY(library.Find("curl_multi_add_handle", curl.multi_add_handle));
  ANEMONE_TRY(library.Find("curl_multi_cleanup", curl.multi_cleanup));
  ANEMONE_TRY(library.Find("curl_multi_info_read", curl.multi_info_read));
  ANEMONE_TRY(library.Find("curl_multi_init", curl.multi_init));
  ANEMONE_TRY(library.Find("curl_multi_perform", curl.multi_perform));
  ANEMONE_TRY(library.Find("curl_multi_poll", curl.multi_poll));
  ANEMONE_TRY(library.Find("curl_multi_remove_handle", curl.multi_remove_handle));
  ANEMONE_TRY(library.Find("curl_slist_append", curl.slist_append));
  ANEMONE_TRY(library.Find("curl_slist_free_all", curl.slist_free_all));
  if (global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    return Status(ErrorKind::kUnavailable, "libcurl could not be initialised");
  return curl;
}

}  // namespace

Result<const Curl*> LoadCurl() { return LoadedOnce<Load>(); }

}  // namespace anemone::internal
