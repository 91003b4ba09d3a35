// libcurl, loaded when the first request is made.
#ifndef ANEMONE_NET_CURL_H_
#define ANEMONE_NET_CURL_H_

#include <curl/curl.h>

#include "anemone/status.h"

namespace anemone::internal {

struct Curl {
  decltype(&curl_easy_init) easy_init;
  decltype(&curl_easy_cleanup) easy_cleanup;
  decltype(&curl_easy_reset) easy_reset;
  decltype(&curl_easy_setopt) easy_setopt;
  decltype(&curl_easy_getinfo) easy_getinfo;
  decltype(&curl_easy_strerror) easy_strerror;
  decltype(&curl_getdate) getdate;
  decltype(&curl_multi_add_handle) multi_add_handle;
  decltype(&curl_multi_cleanup) multi_cleanup;
  decltype(&curl_multi_info_read) multi_info_read;
  decltype(&curl_multi_init) multi_init;
  decltype(&curl_multi_perform) multi_perform;
  decltype(&curl_multi_poll) multi_poll;
  decltype(&curl_multi_remove_handle) multi_remove_handle;
  decltype(&curl_slist_append) slist_append;
  decltype(&curl_slist_free_all) slist_free_all;
};

// Initialised, owned by the library, valid for ever. Threads: safe. Errors: Unavailable.
Result<const Curl*> LoadCurl();

}  // namespace anemone::internal

#endif  // ANEMONE_NET_CURL_H_
