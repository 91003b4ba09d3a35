// What an address names, read in place: a file or a folder of https://, http://, s3:// and gs://.
#ifndef ANEMONE_NET_URL_H_
#define ANEMONE_NET_URL_H_

#include <string>
#include <string_view>

#include "anemone/status.h"
#include "base/location.h"
#include "net/http.h"

namespace anemone {

// Whether an address begins as those that OpenUrl takes.
bool IsUrl(std::string_view text);

// A file, and where it has a name that Hugging Face's libraries know, what belongs to it beside it; or a folder: of an
// object store all that is below it, of another server, which lists nothing, the files that a conversion needs of
// Hugging Face's layout (then the address ends in '/'). Endpoints and credentials of object stores come from the
// environment (docs/formats/remote.md). Errors: NotFound, Unavailable, InvalidArgument (half a key, no bucket).
Result<Location> OpenUrl(const std::string& url, const HttpOptions& options);

}  // namespace anemone

#endif  // ANEMONE_NET_URL_H_
