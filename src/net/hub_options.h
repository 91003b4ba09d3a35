// How the Hugging Face hub is reached, as huggingface_hub reads it from the environment.
#ifndef ANEMONE_NET_HUB_OPTIONS_H_
#define ANEMONE_NET_HUB_OPTIONS_H_

#include <string>

#include "net/http.h"

namespace anemone {

struct HubOptions {
  std::string endpoint = "https://huggingface.co";  // HF_ENDPOINT
  std::string cache_dir;  // HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub
  // HF_TOKEN, HUGGING_FACE_HUB_TOKEN, the file HF_TOKEN_PATH; none with HF_HUB_DISABLE_IMPLICIT_TOKEN.
  std::string token;
  bool offline = false;                // HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE
  bool symlinks = true;                // HF_HUB_DISABLE_SYMLINKS: files in snapshots/ are then real ones
  double timeout_s = 10;               // HF_HUB_ETAG_TIMEOUT: to connect
  double stall_timeout_s = 30;         // HF_HUB_DOWNLOAD_TIMEOUT where it is longer
  double first_wait_s = 1;             // before the first repetition of a failed request
  std::string ca_file;                 // REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE
  std::string user_agent = "anemone";  // and "; origin/…" with HF_HUB_USER_AGENT_ORIGIN

  static HubOptions FromEnvironment();
  HttpOptions Http() const;
};
// True if a variable is set to 1, ON, YES or TRUE in any case, as huggingface_hub reads its flags.
bool IsTrueInEnvironment(const char* name);

}  // namespace anemone

#endif  // ANEMONE_NET_HUB_OPTIONS_H_
