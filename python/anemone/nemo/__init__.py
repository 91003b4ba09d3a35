"""NeMo's own scripts under NeMo's names. `python -m anemone.nemo` lists them and their paths, for torchrun."""

# As NeMo v2.0.0 names them.
SCRIPTS = {
    "convert_clip_hf_to_nemo": "Hugging Face CLIP → .nemo (Megatron-core)",
    "convert_external_clip_to_nemo": "Hugging Face or OpenCLIP → .nemo (legacy)",
    "convert_siglip_hf_to_nemo": "Hugging Face SigLIP → .nemo",
    "convert_ckpt_to_nemo": "A training's .ckpt → .nemo",
    "megatron_ckpt_to_nemo": "A language model's training checkpoint → .nemo",
    "convert_zarr_to_torch_dist": "A zarr checkpoint → .nemo with torch_dist inside",
    "convert_nemo1_to_nemo2": "A GPT's .nemo → a NeMo 2 folder",
    "megatron_change_num_partitions": "Another tensor and pipeline layout",
    "megatron_clip_infer": "CLIP inference, with Hydra's overrides",
}
