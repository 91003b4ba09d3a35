// A layout and a rank of it, as messages and lists call them.
#ifndef ANEMONE_TENSOR_LAYOUT_TEXT_H_
#define ANEMONE_TENSOR_LAYOUT_TEXT_H_

#include <string>

#include "anemone/checkpoint.h"

namespace anemone {

// "TP 2 × PP 1"; virtual chunks and expert ranks are named where there are several: "TP 2 × PP 1 × VP 2 × EP 4".
inline std::string LayoutText(const Layout& layout) {
  std::string text = "TP " + std::to_string(layout.tp) + " × PP " + std::to_string(layout.pp);
  if (layout.vp > 1) text += " × VP " + std::to_string(layout.vp);
  if (layout.ep > 1) text += " × EP " + std::to_string(layout.ep);
  return text;
}

// "tp0 pp1"; of a layout with several expert ranks, all but the first are named: "tp0 pp1 ep2".
inline std::string RankText(const Shard& shard) {
  std::string text = "tp" + std::to_string(shard.tp_rank) + " pp" + std::to_string(shard.pp_rank);
  if (shard.ep_rank > 0) text += " ep" + std::to_string(shard.ep_rank);
  return text;
}

}  // namespace anemone

#endif  // ANEMONE_TENSOR_LAYOUT_TEXT_H_
