// Rank folders: `mp_rank_TT`, `tp_rank_TT_pp_rank_PPP`, one a model-parallel rank [NeMo nemo/utils/model_utils.py,
// inject_model_parallel_rank]. Rules (NEMO-n): docs/formats/nemo.md.
#ifndef ANEMONE_FORMAT_RANKS_H_
#define ANEMONE_FORMAT_RANKS_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"

namespace anemone {

struct RankFolder {
  int tp = 0;
  int pp = 0;
  bool fsdp = false;  // `…_fsdp_shard_NNNNN`: not readable
};

// The ranks in a folder's name; nullopt for any other name.
std::optional<RankFolder> ParseRankFolder(std::string_view name);
// The folder of one rank of a layout; "" when the layout has one rank.
std::string RankFolderName(const Layout& layout, int tp_rank, int pp_rank);

// The layout that a set of folders makes, and for each rank, pp-major, which of `names` it is. Names that are no rank
// folders must have been left out. Errors: Corrupt (missing ranks, all named; a rank twice), Unsupported (FSDP).
struct RankSet {
  Layout layout;
  std::vector<std::string> folders;
};
Result<RankSet> ArrangeRanks(const std::vector<std::string>& names);

// Adds a note when the config asks for another layout than the files have: the files are believed.
void CompareLayout(Checkpoint& checkpoint);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_RANKS_H_
