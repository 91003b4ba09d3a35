#include "base/stand_in.h"

#include <string>

#include "base/lower_case.h"

namespace anemone {
namespace {

struct StandIn {
  std::string_view begin;  // in lower case, behind blanks
  std::string_view what;
  std::string_view hint;
};

constexpr std::string_view kDownloadAgain = "the download fetched something else: download the file itself";
constexpr StandIn kStandIns[] = {
    {"version https://git-lfs", "a git-lfs pointer, not the file it stands for", "run `git lfs pull`"},
    {"/annex/objects/", "a git-annex pointer, not the file it stands for", "run `git annex get`"},
    {"<!doctype html", "an HTML page", kDownloadAgain},
    {"<html", "an HTML page", kDownloadAgain},
    {"<?xml", "an XML document", kDownloadAgain},
};

}  // namespace

Status CheckNoStandIn(std::string_view head) {
  constexpr size_t kMaxBlanks = 64;
  const size_t first = head.substr(0, kMaxBlanks).find_first_not_of(kTextBlanks);
  if (first == std::string_view::npos) return {};
  const std::string text = LowerCase(head.substr(first, kMaxBlanks));
  for (const StandIn& stand_in : kStandIns) {
    if (text.starts_with(stand_in.begin)) return Corrupt(std::string(stand_in.what), std::string(stand_in.hint));
  }
  return {};
}

}  // namespace anemone
