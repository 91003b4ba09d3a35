/* anemone's C API: open, read, change, convert, check and save checkpoints from C, or from any language that calls C.
 *
 *   anemone_checkpoint* model = NULL;
 *   anemone_status* status = anemone_open("clip.nemo", NULL, NULL, &model);
 *   if (status != NULL) fprintf(stderr, "%s\n", anemone_status_message(status));
 *
 * Errors: a function that can fail returns anemone_status*: NULL is success; anything else says what went wrong and
 * belongs to the caller (anemone_status_free). Outputs are set on success only. No exception leaves the library; memory
 * that runs out is ANEMONE_OUT_OF_MEMORY.
 *
 * Ownership: outputs of type T** belong to the caller: handles are freed by their own anemone_..._free, text and arrays
 * by anemone_free. Freeing NULL is allowed. `const` results belong to the handle and live as long as it. A tensor, a
 * view or a CLIP stays valid after its checkpoint is freed; it keeps the files open.
 *
 * Threads: different handles may be used by different threads at once. Functions that take a const handle may run at
 * once on one handle; the others need it for themselves.
 *
 * Arguments: pointers must not be NULL unless it is said that they may. Text is UTF-8, ended by a NUL; paths are the
 * file system's bytes. JSON is what Python's json reads: NaN and Infinity may occur in numbers. `options` is a JSON
 * object, or NULL for none; unknown keys and values of the wrong type are errors of kind ANEMONE_INVALID_ARGUMENT.
 * `progress` follows and stops a long call (anemone_progress_new); NULL follows nothing.
 *
 * Stability: symbols carry the version ANEMONE_1. Within it functions are added, never changed or removed; keys may be
 * added to the JSON objects that functions return.
 */
#ifndef ANEMONE_C_H_
#define ANEMONE_C_H_

/* NOLINTBEGIN(modernize-*): C */
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define ANEMONE_API __attribute__((visibility("default")))
#define ANEMONE_CHECKED __attribute__((visibility("default"), warn_unused_result))
#else
#define ANEMONE_API
#define ANEMONE_CHECKED
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0". Lives as long as the program. */
ANEMONE_API const char* anemone_version(void);
/* Frees text and arrays that a function returned. */
ANEMONE_API void anemone_free(void* memory);

/* ---- Status: what went wrong ---- */

typedef struct anemone_status anemone_status;

typedef enum anemone_kind {
  ANEMONE_OK = 0,
  ANEMONE_NOT_FOUND = 1,        /* the path, tensor or config key named does not exist */
  ANEMONE_ALREADY_EXISTS = 2,   /* the output exists and may not be replaced */
  ANEMONE_CANNOT_CREATE = 3,    /* the output's folder is missing or not writable */
  ANEMONE_INVALID_ARGUMENT = 4, /* the request has no meaning */
  ANEMONE_CORRUPT = 5,          /* the input breaks a rule of its format */
  ANEMONE_UNSUPPORTED = 6,      /* valid input that anemone does not handle */
  ANEMONE_LIMIT_EXCEEDED = 7,   /* input beyond a stated limit */
  ANEMONE_IO = 8,               /* reading or writing failed: disk full, device error */
  ANEMONE_UNAVAILABLE = 9,      /* a remote service did not answer */
  ANEMONE_INTERRUPTED = 10,     /* anemone_progress_cancel stopped the call */
  ANEMONE_OUT_OF_MEMORY = 11,
  ANEMONE_INTERNAL = 12 /* a bug in anemone */
} anemone_kind;

/* ANEMONE_OK for NULL. */
ANEMONE_API anemone_kind anemone_status_kind(const anemone_status* status);
/* One line: "place: expected X, found Y". "" for NULL. */
ANEMONE_API const char* anemone_status_message(const anemone_status* status);
/* What to do about it; "" where there is no advice. */
ANEMONE_API const char* anemone_status_hint(const anemone_status* status);
/* The parts of both as JSON, for callers who write options in words of their own: where [text] (from the outside in),
 * hint, remedies [{option, value, effect}]: "use OPTION=VALUE to EFFECT". "{}" for NULL. */
ANEMONE_API const char* anemone_status_details(const anemone_status* status);
ANEMONE_API void anemone_status_free(anemone_status* status);

/* ---- Progress: follow a long call, and stop it ---- */

typedef struct anemone_progress anemone_progress;

/* Called from any thread of the library, never from two at once, at most every 50 ms: the stage ("writing") and the
 * bytes done of the total. Returning anything but 0 stops the call. */
typedef int (*anemone_progress_fn)(void* context, const char* stage, uint64_t done, uint64_t total);

/* `callback` may be NULL: then anemone_progress_read polls. NULL when memory runs out. Give one progress to one call at
 * a time; it must outlive the call. */
ANEMONE_API anemone_progress* anemone_progress_new(anemone_progress_fn callback, void* context);
/* Asks the call to stop: it leaves no output and returns ANEMONE_INTERRUPTED. Any thread, and signal handlers. A
 * progress stays cancelled. */
ANEMONE_API void anemone_progress_cancel(anemone_progress* progress);
/* The last report; 1 when it is newer than the last one read here, else 0. `stage` holds at least 64 bytes. Any thread.
 */
ANEMONE_API int anemone_progress_read(anemone_progress* progress, char stage[64], uint64_t* done, uint64_t* total);
ANEMONE_API void anemone_progress_free(anemone_progress* progress);

/* ---- Checkpoints ---- */

typedef struct anemone_checkpoint anemone_checkpoint;
typedef struct anemone_tensor anemone_tensor;
typedef struct anemone_view anemone_view;

/* Opens a checkpoint of any format that anemone reads, or a hub id ("org/name"). Cost: headers are read, weights are
 * not. Options: "key" (string): the dictionary of a torch file that holds the weights. */
ANEMONE_CHECKED anemone_status* anemone_open(const char* path, const char* options, anemone_progress* progress,
                                             anemone_checkpoint** checkpoint);
/* Opens a NeMo model as restore_from does: names and shapes are checked against the config. Options: "config" (string):
 * YAML that replaces the stored config; "strict" (bool, default true): check; "return_config" (bool): read the config
 * only. */
ANEMONE_CHECKED anemone_status* anemone_restore(const char* path, const char* options, anemone_checkpoint** checkpoint);
/* A checkpoint without tensors, for anemone_add_tensor. `config`: a JSON object, or NULL. */
ANEMONE_CHECKED anemone_status* anemone_create(const char* config, anemone_checkpoint** checkpoint);
ANEMONE_API void anemone_checkpoint_free(anemone_checkpoint* checkpoint);

/* JSON: path, format, family, dialect (empty strings where unknown), model_class, layout {tp, pp, vp}, parts, metadata
 * {key: text}, notes [text], artifacts [{name, bytes}]. */
ANEMONE_CHECKED anemone_status* anemone_info(const anemone_checkpoint* checkpoint, char** json);
/* The checkpoint under the names of another dialect ("hf", "openclip", "mcore", "legacy", or "canonical": the family's
 * own names), parts merged, the config translated. Cost: no weights are read, but for small copies that ranks share. */
ANEMONE_CHECKED anemone_status* anemone_translate(const anemone_checkpoint* checkpoint, const char* dialect,
                                                  anemone_checkpoint** translated);

/* How many parts are stored: one for each tensor- and pipeline-parallel rank and each of its virtual chunks. */
ANEMONE_API size_t anemone_part_count(const anemone_checkpoint* checkpoint);
/* One part, as its rank stored it. `tp_rank` and `pp_rank` may be NULL. */
ANEMONE_CHECKED anemone_status* anemone_part(const anemone_checkpoint* checkpoint, size_t index, int* tp_rank,
                                             int* pp_rank, anemone_checkpoint** part);

/* The checkpoint divided anew over tensor- and pipeline-parallel ranks: as many parts, those of the first stage first.
 * Reads nothing, but for small copies that ranks share. Errors: ANEMONE_INVALID_ARGUMENT (sizes that do not divide it,
 * a dialect without ranks), ANEMONE_NOT_FOUND (an unknown family). */
ANEMONE_CHECKED anemone_status* anemone_split(const anemone_checkpoint* checkpoint, int tp, int pp,
                                              anemone_checkpoint** split);

/* Tensors, in stored order. The parts of several ranks are merged at the first call that asks for a tensor. */
ANEMONE_CHECKED anemone_status* anemone_tensor_count(const anemone_checkpoint* checkpoint, size_t* count);
ANEMONE_CHECKED anemone_status* anemone_tensor_at(const anemone_checkpoint* checkpoint, size_t index,
                                                  anemone_tensor** tensor);
/* By name. Errors: ANEMONE_NOT_FOUND. */
ANEMONE_CHECKED anemone_status* anemone_tensor_named(const anemone_checkpoint* checkpoint, const char* name,
                                                     anemone_tensor** tensor);
/* All at once, as JSON: {"tensors": [[name, dtype, [size, ...]], ...], "opaque": [name, ...]}; opaque are entries that
 * are no tensors, such as Transformer Engine's _extra_state. */
ANEMONE_CHECKED anemone_status* anemone_tensor_list(const anemone_checkpoint* checkpoint, char** json);

/* The training state of a checkpoint's only rank (anemone_part gives one of several): the dictionary that Lightning,
 * NeMo 2 or Megatron-LM saved. JSON: [value, ...], the first is the dictionary; null where there is none. A value is
 * null, a bool, a number, text, or an object, whose n are numbers of other values in the list:
 *
 *   {"list": [n, ...]}, "tuple", "set", "frozenset"
 *   {"dict": [key n, value n, ...], "attributes": n}           attributes: torch's _metadata, if any
 *   {"tensor": number, "dtype": name, "shape": [size, ...]}    for anemone_training_tensor
 *   {"int": digits}, {"bytes": hex}, {"bytearray": hex}        what JSON has no numbers or texts for
 *   {"global": "module name"}, {"persistent": [n]}             not imported, not looked up
 *   {"object": "module name", "arguments": [n, ...], "state": n, "appended": [n, ...], "entries": [n, ...]}
 *
 * An object is what a pickle says of it; it is never made. Values may be shared, and lists, dicts and objects may
 * contain themselves. Cost: no tensor is read. Errors: ANEMONE_INVALID_ARGUMENT where there are several ranks. */
ANEMONE_CHECKED anemone_status* anemone_training(const anemone_checkpoint* checkpoint, char** json);
/* A tensor of the training state by its number there. */
ANEMONE_CHECKED anemone_status* anemone_training_tensor(const anemone_checkpoint* checkpoint, size_t number,
                                                        anemone_tensor** tensor);

/* ---- Tensors: immutable, unread until they are read ---- */

ANEMONE_API const char* anemone_tensor_name(const anemone_tensor* tensor);
/* torch's name of the element type: "float32", "bfloat16", "int64" ... */
ANEMONE_API const char* anemone_tensor_dtype(const anemone_tensor* tensor);
ANEMONE_API size_t anemone_tensor_rank(const anemone_tensor* tensor);
/* `rank` sizes in elements, outermost first. */
ANEMONE_API const uint64_t* anemone_tensor_shape(const anemone_tensor* tensor);
ANEMONE_API uint64_t anemone_tensor_bytes(const anemone_tensor* tensor);
/* JSON: all element types, [{name, bits, numpy, safetensors}]: torch's name (ours where torch has none), bits of an
 * element, what numpy's array interface ("<f4") and safetensors ("F32") call it; "" where they have no word. */
ANEMONE_CHECKED anemone_status* anemone_dtypes(char** json);
/* Reads all elements, in C order and little-endian, into `out`. `size` must be anemone_tensor_bytes. Large tensors are
 * read by several threads. */
ANEMONE_CHECKED anemone_status* anemone_tensor_read(const anemone_tensor* tensor, void* out, uint64_t size);
/* Indices [start, start + length) of one axis, unread. Reading the part reads no more of the file than it needs. */
ANEMONE_CHECKED anemone_status* anemone_tensor_narrow(const anemone_tensor* tensor, size_t axis, uint64_t start,
                                                      uint64_t length, anemone_tensor** part);
ANEMONE_API void anemone_tensor_free(anemone_tensor* tensor);

/* Maps the tensor's bytes where they are stored, without reading them. The mapping is private: writing to it changes no
 * file. Errors: ANEMONE_UNSUPPORTED where the bytes are not in one piece in a plain file. */
ANEMONE_CHECKED anemone_status* anemone_tensor_view(const anemone_tensor* tensor, anemone_view** view);
ANEMONE_API void* anemone_view_data(const anemone_view* view);
ANEMONE_API uint64_t anemone_view_size(const anemone_view* view);
ANEMONE_API void anemone_view_free(anemone_view* view);

/* The tensor as a DLManagedTensor* (DLPack, unversioned), whose deleter its consumer calls. With `copy` not 0 it is
 * read into memory of its own, else mapped as by anemone_tensor_view. Errors: ANEMONE_UNSUPPORTED for dtypes DLPack
 * lacks. */
ANEMONE_CHECKED anemone_status* anemone_tensor_dlpack(const anemone_tensor* tensor, int copy, void** managed);
/* Calls its deleter. */
ANEMONE_API void anemone_dlpack_free(void* managed);

/* ---- Config and artifacts ---- */

/* The value at a path ("optim.lr", "layers[0]"; "" is the whole config) as JSON, interpolations unresolved. Errors:
 * ANEMONE_NOT_FOUND. */
ANEMONE_CHECKED anemone_status* anemone_config_get(const anemone_checkpoint* checkpoint, const char* path, char** json);
/* Sets the value at a path, creating the maps on the way; NULL removes it. The checkpoint changes in memory only:
 * anemone_save writes it. */
ANEMONE_CHECKED anemone_status* anemone_config_set(anemone_checkpoint* checkpoint, const char* path, const char* json);

/* The content of a file that travels with the model. Errors: ANEMONE_NOT_FOUND; ANEMONE_LIMIT_EXCEEDED above 4 GiB. */
ANEMONE_CHECKED anemone_status* anemone_artifact_read(const anemone_checkpoint* checkpoint, const char* name,
                                                      void** data, size_t* size);

/* ---- One's own tensors ---- */

/* Adds a tensor to a checkpoint of anemone_create. `data` holds its elements in C order, little-endian; it is not
 * copied and must stay until the checkpoint and all that was made from it are freed. `dtype` is a name of
 * anemone_tensor_dtype. */
ANEMONE_CHECKED anemone_status* anemone_add_tensor(anemone_checkpoint* checkpoint, const char* name, const char* dtype,
                                                   size_t rank, const uint64_t* shape, const void* data, uint64_t size);
/* Adds a file that travels with the model; its content is copied. */
ANEMONE_CHECKED anemone_status* anemone_add_artifact(anemone_checkpoint* checkpoint, const char* name, const void* data,
                                                     size_t size);
/* Adds a pair to the metadata that safetensors files carry. */
ANEMONE_CHECKED anemone_status* anemone_add_metadata(anemone_checkpoint* checkpoint, const char* key,
                                                     const char* value);

/* ---- Save, convert, reshard ----
 *
 * Options, as `anemone convert` has them: "to" (a format's name; default: by the destination's name), "dialect",
 * "hparams", "table", "preset", "architecture", "model_class", "tokenizer", "tower", "base", "model_id",
 * "nemo2_version", "key", "dtype", "extra_state", "reflink" (strings); "tp", "pp", "vp", "ep", "split_rank",
 * "vocab_size", "max_shard_bytes" (integers); "dequantize", "only_weights", "use_ema", "strict", "verify_source",
 * "crc32" (bools); "set" {path: value}, "unset" [path], "artifacts" {path: file}, "lora" [path]. Beside them: "force"
 * (bool): replace an existing output; "threads" (integer). With "verify_source" false records of the source that do not
 * match their checksum are notes; else the first is an error, and true reads for it what is shared with the source.
 *
 * The output appears whole or not at all. `result` (may be NULL) gets JSON: destination, format, bytes_written, notes.
 */
/* Writes a checkpoint as it is in memory. A .nemo whose config alone was changed keeps every other byte. */
ANEMONE_CHECKED anemone_status* anemone_save(const anemone_checkpoint* checkpoint, const char* destination,
                                             const char* options, anemone_progress* progress, char** result);
/* Converts or reshards a stored checkpoint. Memory does not grow with its size. */
ANEMONE_CHECKED anemone_status* anemone_convert(const char* source, const char* destination, const char* options,
                                                anemone_progress* progress, char** result);

/* ---- Check ---- */

/* Reads everything and checks it. JSON: ok, problems [text], unchecked, tensors, bytes_read. What is wrong is an
 * answer, not an error. */
ANEMONE_CHECKED anemone_status* anemone_verify(const char* path, anemone_progress* progress, char** json);
/* Compares two checkpoints. Options: "canonical" (bool): across dialects and layouts; "only_weights" (bool). JSON:
 * equal, tensors_compared, tensors [{name, kind, first, second, elements, max_abs}], config and artifacts [{path,
 * first, second}]. */
ANEMONE_CHECKED anemone_status* anemone_diff(const char* first, const char* second, const char* options,
                                             anemone_progress* progress, char** json);
/* What the files would import, call or write when other software loads them; nothing is executed to find out. JSON:
 * [{file, what, name, where, danger, weights_only}], danger being "inert", "unknown" or "calls"; weights_only tells of
 * a pickle's global whether torch.load(weights_only=True) takes it. */
ANEMONE_CHECKED anemone_status* anemone_scan(const char* path, anemone_progress* progress, char** json);

/* ---- CLIP and SigLIP ---- */

typedef struct anemone_clip anemone_clip;

/* Options: "threads" (integer; 0: all cores), "keep_weights" (bool): the first call reads all weights, later ones none.
 */
ANEMONE_CHECKED anemone_status* anemone_clip_load(const anemone_checkpoint* checkpoint, const char* options,
                                                  anemone_clip** clip);
ANEMONE_API uint64_t anemone_clip_image_size(const anemone_clip* clip);
/* exp(logit_scale), which similarities are multiplied by. */
ANEMONE_CHECKED anemone_status* anemone_clip_logit_scale(const anemone_clip* clip, double* scale);
/* JSON: [path] of the pictures in a folder and below, sorted. Errors: ANEMONE_NOT_FOUND where there are none. */
ANEMONE_CHECKED anemone_status* anemone_find_images(const char* folder, char** json);
/* A picture, preprocessed: 3 x image_size x image_size floats. */
ANEMONE_CHECKED anemone_status* anemone_clip_pixels_of_file(const anemone_clip* clip, const char* path, float* pixels);
/* `rgb`: width x height x 3 bytes, rows from the top. */
ANEMONE_CHECKED anemone_status* anemone_clip_pixels_of_rgb(const anemone_clip* clip, uint32_t width, uint32_t height,
                                                           const uint8_t* rgb, float* pixels);
/* Features of `count` preprocessed pictures: `count` rows of `width` floats, not normalised. */
ANEMONE_CHECKED anemone_status* anemone_clip_encode_images(anemone_clip* clip, const float* pixels, size_t count,
                                                           anemone_progress* progress, float** features, size_t* width);
ANEMONE_CHECKED anemone_status* anemone_clip_encode_texts(anemone_clip* clip, const char* const* texts, size_t count,
                                                          anemone_progress* progress, float** features, size_t* width);
/* For each image the probability of each text, images x texts floats. `logit_scale` may be NULL: the checkpoint's own.
 */
ANEMONE_CHECKED anemone_status* anemone_clip_probabilities(const anemone_clip* clip, const float* images,
                                                           size_t image_count, const float* texts, size_t text_count,
                                                           size_t width, const double* logit_scale,
                                                           float* probabilities);
ANEMONE_API void anemone_clip_free(anemone_clip* clip);

/* ---- NeMo's names, and the program ---- */

/* JSON: [[class, description], ...] of NeMo's model classes. */
ANEMONE_CHECKED anemone_status* anemone_model_classes(char** json);
/* JSON: [[script, summary], ...] of NeMo's scripts that the program runs. */
ANEMONE_CHECKED anemone_status* anemone_nemo_scripts(char** json);
/* The program `anemone` as a function: argv[0] is its name. Prints to stdout and stderr, puts signal handlers back, and
 * returns the exit status. One call at a time. */
ANEMONE_API int anemone_main(int argc, const char* const* argv);
/* Runs one of its commands ({"anemone", "inspect", path}), and hands out what it prints to stdout instead of printing
 * it. `exit_status` is 0, or 1 where the command's answer is no; what it would report as an error is one. Notes and
 * warnings are left out. Other calls wait for the one that runs; do not call it while anemone_main runs. */
ANEMONE_CHECKED anemone_status* anemone_command(int argc, const char* const* argv, anemone_progress* progress,
                                                int* exit_status, char** output);

#ifdef __cplusplus
}
#endif

/* NOLINTEND(modernize-*) */
#endif /* ANEMONE_C_H_ */
