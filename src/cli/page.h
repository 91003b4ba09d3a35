// Pages to look at: one self-contained HTML file each, its data inside, nothing fetched from anywhere.
#ifndef ANEMONE_CLI_PAGE_H_
#define ANEMONE_CLI_PAGE_H_

#include <functional>
#include <string>
#include <string_view>

#include "anemone/progress.h"
#include "anemone/status.h"
#include "config/json_stream.h"

namespace anemone::cli {

// The templates of src/cli/pages, style included; `{{data}}` is where the data belongs.
extern const std::string_view kReportPage;
extern const std::string_view kInferPage;

// Errors: AlreadyExists; with `replace` where what is there is no page. To be asked before the work that a page shows.
Status CheckPagePath(const std::string& path, bool replace);
// The page with what `data` adds to an open map, as JSON that no string in it can end. Its `made_by` is set. Whole or
// not at all, as every output. Errors: AlreadyExists, CannotCreate, Io; Interrupted; as `data`.
Status WritePage(std::string_view page, const std::function<Status(JsonStream& map)>& data, const std::string& path,
                 bool replace, const ProgressFn& progress);

// A picture's file as a data: URI. Errors: as reading; LimitExceeded above 256 MiB.
Result<std::string> PictureUri(const std::string& path);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_PAGE_H_
