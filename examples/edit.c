/* Opens a .nemo, lists its tensors, reads one, changes the config, saves, and converts the result to Hugging Face.
 * cc edit.c $(pkg-config --cflags --libs anemone-c) -o edit && ./edit clip.nemo tuned.nemo clip-hf */
#include <anemone/c.h>
#include <stdio.h>
#include <stdlib.h>

static void check(anemone_status* status) {
  if (status == NULL) return;
  fprintf(stderr, "%s\nhint: %s\n", anemone_status_message(status), anemone_status_hint(status));
  exit(1);
}

int main(int argc, char** argv) {
  if (argc != 4) return 64;
  anemone_checkpoint* model = NULL;
  check(anemone_open(argv[1], NULL, NULL, &model));
  size_t count = 0;
  check(anemone_tensor_count(model, &count));
  for (size_t i = 0; i < count; ++i) {
    anemone_tensor* tensor = NULL;
    check(anemone_tensor_at(model, i, &tensor));
    printf("%s %s, %zu bytes\n", anemone_tensor_name(tensor), anemone_tensor_dtype(tensor),
           (size_t)anemone_tensor_bytes(tensor));
    if (i == 0) {
      void* elements = malloc(anemone_tensor_bytes(tensor));
      check(anemone_tensor_read(tensor, elements, anemone_tensor_bytes(tensor)));
      free(elements);
    }
    anemone_tensor_free(tensor);
  }
  check(anemone_config_set(model, "optim.lr", "3e-4"));
  check(anemone_save(model, argv[2], NULL, NULL, NULL));
  check(anemone_convert(argv[2], argv[3], "{\"to\": \"hf\"}", NULL, NULL));
  anemone_checkpoint_free(model);
  return 0;
}
