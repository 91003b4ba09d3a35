// Pages to look at: one self-contained HTML file each, its data inside, nothing fetched from anywhere.
#ifndef ANEMONE_CLI_PAGE_H_
#define ANEMONE_CLI_PAGE_H_

#include <string>
#include <string_view>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone::cli {

// The templates of src/cli/pages, style included; `{{data}}` is where the data belongs.
extern const std::string_view kReportPage;
extern const std::string_view kInferPage;

// The page with `data`, a map, as JSON that no string in it can end. Its `made_by` is set.
std::string RenderPage(std::string_view page, ConfigNode data);

// Errors: AlreadyExists; with `replace` where what is there is no page. To be asked before the work that a page shows.
Status CheckPagePath(const std::string& path, bool replace);
// Whole or not at all, as every output. Errors: AlreadyExists, CannotCreate, Io.
Status WritePage(std::string_view page, ConfigNode data, const std::string& path, bool replace);

// A picture's file as a data: URI. Errors: as reading; LimitExceeded above 256 MiB.
Result<std::string> PictureUri(const std::string& path);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_PAGE_H_
