// Open: reads the source's headers and chooses the format to write.
//
// Before:  nothing.
// After:   `source` and `result` are the checkpoint as it is stored; `format` is set and can be written.
// Notes:   what the reader had to decide, with the checkpoint.
#include "convert/pass.h"
#include "edit/destination.h"
#include "edit/ema.h"
#include "source/source.h"

namespace anemone {

Status Open(Work& work) {
  Conversion& conversion = work.conversion;
  const ConvertOptions& options = work.options;
  if (options.use_ema && !options.key.empty())
    return WrongOption("key", "expected the EMA weights or the weights under a key, found both");
  if (work.memory != nullptr) {
    if (options.use_ema || !options.key.empty()) {
      return WrongOption(options.use_ema ? "use_ema" : "key", "expected a checkpoint on disk, found one in memory");
    }
    conversion.source = *work.memory;
  } else {
    ANEMONE_ASSIGN(conversion.source, options.use_ema ? OpenEma(work.source_path, options.progress)
                                                      : OpenSource(work.source_path, options.progress, {options.key}));
  }
  ANEMONE_ASSIGN(work.format, DestinationFormat(conversion.destination, options.to));
  conversion.format = work.format->name;
  conversion.result = conversion.source;
  return {};
}

}  // namespace anemone
