"""A Stable Diffusion that anemone takes out of a .nemo is what diffusers makes of the same weights, and comes back.

usage: stable_diffusion.py ANEMONE GOLDEN_DIR [unittest's arguments]
Pipelines with the structure of Stable Diffusion 1.5, 2.1-base and 2.1 become a .nemo, a single file and pipelines again, which compute to
the bit what diffusers computes of the first, and of the single file.
A UNet and a VAE of diffusers get NeMo's names here, by the places of their modules; the names are checked against those that NeMo v2.0.0
itself wrote. anemone makes a single file of them, which diffusers' from_single_file loads.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import unittest

import torch
import yaml
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

ANEMONE, GOLDEN = (os.path.abspath(path) for path in sys.argv[1:3])
LEVELS = 4


def replaced(name, pairs):
    for old, new in pairs:
        name = name.replace(old, new)
    return name


def unet_name(name):
    """NeMo's name of a tensor of diffusers' UNet2DConditionModel."""
    words = name.split(".")
    for old, new in (("time_embedding.linear_1.", "time_embed.0."), ("time_embedding.linear_2.", "time_embed.2."), ("conv_in.", "input_blocks.0.0."), ("conv_norm_out.", "out.0."), ("conv_out.", "out.1.")):
        if name.startswith(old):
            return name.replace(old, new, 1)
    if words[0] == "mid_block":
        place = f"middle_block.{2 * int(words[2]) if words[1] == 'resnets' else 1}."
        rest, kind = words[3:], words[1]
    else:
        down, block, kind, number, rest = words[0] == "down_blocks", int(words[1]), words[2], int(words[3]), words[4:]
        first = 3 * block + (1 if down else 0)
        if kind == "downsamplers":
            return f"input_blocks.{3 * (block + 1)}.0.op.{rest[-1]}"
        if kind == "upsamplers":
            return f"output_blocks.{first + 2}.{1 if block == 0 else 2}.conv.{rest[-1]}"
        place = f"{'input' if down else 'output'}_blocks.{first + number}.{0 if kind == 'resnets' else 1}."
    rest = ".".join(rest)
    if kind == "resnets":
        return place + replaced(rest, (("norm1.", "in_layers.0."), ("conv1.", "in_layers.1."), ("time_emb_proj.", "emb_layers.1."),
                                       ("norm2.", "out_layers.0."), ("conv2.", "out_layers.2."), ("conv_shortcut.", "skip_connection.")))
    return place + replaced(rest, ((".ff.net.0.proj.", ".ff.net.1.proj."), (".ff.net.2.", ".ff.net.3."), (".norm1.", ".attn1.norm."),
                                   (".norm2.", ".attn2.norm."), (".norm3.", ".ff.net.0.")))


def control_name(name):
    """NeMo's name of a tensor of diffusers' ControlNetModel."""
    words = name.split(".")
    if words[0] == "controlnet_down_blocks":
        return f"zero_convs.{words[1]}.0.{words[2]}"
    if words[0] == "controlnet_mid_block":
        return f"middle_block_out.0.{words[1]}"
    if words[0] == "controlnet_cond_embedding":
        number = {"conv_in": 0, "conv_out": 14}.get(words[1], None)
        return f"input_hint_block.{2 * int(words[2]) + 2 if number is None else number}.{words[-1]}"
    return unet_name(name)


def vae_name(name):
    """NeMo's name of a tensor of diffusers' AutoencoderKL."""
    words = name.split(".")
    if "up_blocks" in words:
        words[words.index("up_blocks") + 1] = str(LEVELS - 1 - int(words[words.index("up_blocks") + 1]))
    name = ".".join(words)
    return replaced(name, (("down_blocks", "down"), ("up_blocks", "up"), ("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"),
                           ("resnets", "block"), ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample"), ("conv_shortcut", "nin_shortcut"),
                           ("conv_norm_out", "norm_out"), ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
                           ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"), ("mid_block.attentions.0.to_", "mid.attn_1.")))


def models(linear):
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(32,) * LEVELS, cross_attention_dim=24, attention_head_dim=4, use_linear_projection=linear, sample_size=8)
    vae = AutoencoderKL(block_out_channels=(32,) * LEVELS, layers_per_block=2, latent_channels=4,
                        down_block_types=("DownEncoderBlock2D",) * LEVELS, up_block_types=("UpDecoderBlock2D",) * LEVELS)
    for model in (unet, vae):
        for parameter in model.parameters():
            parameter.data = torch.randn_like(parameter) * 0.3
    return unet, vae


def nemo_weights(unet, vae):
    """What NeMo's file of these holds."""
    weights = {}
    with open(os.path.join(GOLDEN, "sd/names.txt")) as file:
        shapes = {line.split()[0]: [int(size) for size in line.split()[1:]] for line in file}
    for name, tensor in unet.state_dict().items():
        weights["model.model.diffusion_model." + unet_name(name)] = tensor
    for name, tensor in vae.state_dict().items():
        attention = ".mid_block.attentions.0.to_" in name and tensor.dim() == 2
        weights["model.first_stage_model." + vae_name(name)] = tensor[:, :, None, None] if attention else tensor
    for name, shape in shapes.items():
        if name not in weights and not name.startswith(("model.model.", "model.first_stage_model.")):
            weights[name] = torch.randn(shape)
    return weights, shapes


def single_file_config(linear):
    """NeMo's config of these."""
    with open(os.path.join(GOLDEN, "sd/model_config.yaml")) as file:
        config = yaml.safe_load(file)
    config["unet_config"]["use_linear_in_transformer"] = linear
    return config


def write_nemo(path, config, weights):
    with tarfile.open(path, "w") as tar:
        data = io.BytesIO()
        torch.save(weights, data)
        for name, content in (("model_config.yaml", yaml.safe_dump(config).encode()), ("model_weights.ckpt", data.getvalue())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


WIDTH = 32
PARTS = ("unet", "vae", "text_encoder")


def write_pipeline(folder, second, v, levels=LEVELS):
    """Random weights in the structure of Stable Diffusion 1.5, or 2.1, which may predict v."""
    torch.manual_seed(0)
    attends = [index < levels - 1 for index in range(levels)]
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64, 64, 64)[:levels], cross_attention_dim=WIDTH, attention_head_dim=[2, 4, 4, 4][:levels] if second else 4,
        use_linear_projection=second, upcast_attention=v, sample_size=64,
        down_block_types=["CrossAttnDownBlock2D" if attend else "DownBlock2D" for attend in attends],
        up_block_types=["CrossAttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)])
    vae = AutoencoderKL(block_out_channels=(32, 32, 64, 64)[:levels], layers_per_block=2, latent_channels=4,
                        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels)
    text = CLIPTextModel(CLIPTextConfig(hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=2, num_attention_heads=1,
                                        hidden_act="gelu" if second else "quick_gelu"))
    words = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction" if v else "epsilon",
                 set_alpha_to_one=False, steps_offset=1)
    scheduler = DDIMScheduler(clip_sample=False, **words) if second else PNDMScheduler(skip_prk_steps=True, **words)
    index = {"_class_name": "StableDiffusionPipeline", "safety_checker": [None, None]}
    for name, part in zip((*PARTS, "scheduler"), (unet, vae, text, scheduler)):
        for parameter in part.parameters() if hasattr(part, "parameters") else ():
            parameter.data = torch.randn_like(parameter) * 0.3
        part.save_pretrained(os.path.join(folder, name))
        index[name] = ["transformers" if part is text else "diffusers", type(part).__name__]
    with open(os.path.join(folder, "model_index.json"), "w") as file:
        json.dump(index, file)


def nemo_config(second, v, levels):
    """NeMo's config of that model."""
    with open(os.path.join(GOLDEN, "sd/model_config.yaml")) as file:
        config = yaml.safe_load(file)
    unet, vae = config["unet_config"], config["first_stage_config"]["ddconfig"]
    unet.update(context_dim=WIDTH, use_linear_in_transformer=second, channel_mult=[1, 2, 2, 2][:levels],
                attention_resolutions=[2 ** level for level in range(levels - 1)])
    vae["ch_mult"] = [1, 1, 2, 2][:levels]
    if second:
        del unet["num_heads"]
        unet["num_head_channels"] = 16
        encoders = "nemo.collections.multimodal.modules.stable_diffusion.encoders.modules"
        config["cond_stage_config"] = {"_target_": f"{encoders}.FrozenOpenCLIPEmbedder", "arch": "ViT-H-14", "layer": "penultimate"}
    config["parameterization"] = "v" if v else "eps"
    return config


def states(pipeline):
    return {f"{part}.{name}": tensor for part in PARTS for name, tensor in getattr(pipeline, part).state_dict().items()}


def outputs(pipeline):
    random = torch.Generator().manual_seed(0)
    latents, texts, picture = (torch.randn(shape, generator=random) for shape in ((1, 4, 8, 8), (1, 77, WIDTH), (1, 3, 64, 64)))
    tokens = torch.randint(0, 49408, (1, 77), generator=random)
    for part in PARTS:  # tensors in a mapped file begin anywhere, and sums are divided by where vectors begin
        for parameter in getattr(pipeline, part).eval().parameters():
            parameter.data = parameter.data.clone()
    with torch.no_grad():
        return [pipeline.unet(latents, 7, texts).sample, pipeline.vae.encode(picture).latent_dist.mean,
                pipeline.vae.decode(latents).sample, pipeline.text_encoder(tokens).last_hidden_state]


class StableDiffusion(unittest.TestCase):
    def test_pipelines_compute_what_diffusers_computes(self):
        for second, v, levels in ((False, False, LEVELS), (True, False, LEVELS), (True, True, LEVELS), (False, False, 3), (True, False, 2)):
            with self.subTest(second=second, v=v, levels=levels), tempfile.TemporaryDirectory() as folder:
                source, nemo, single, back, again, hparams = (
                    os.path.join(folder, name) for name in ("source", "sd.nemo", "sd.safetensors", "back", "again", "hparams.yaml"))
                write_pipeline(source, second, v, levels)
                with open(hparams, "w") as file:
                    yaml.safe_dump(nemo_config(second, v, levels), file)
                self.convert(source, nemo, "--hparams", hparams)
                self.convert(nemo, back, "--to", "diffusers")
                self.convert(source, single, "--dialect", "ldm")
                self.convert(single, again, "--to", "diffusers", "--hparams", hparams)
                wanted, *found = (StableDiffusionPipeline.from_pretrained(path, local_files_only=True) for path in (back, back, again))
                found.append(StableDiffusionPipeline.from_single_file(single, config=back, local_files_only=True))
                self.assertEqual(wanted.scheduler.config.prediction_type, "v_prediction" if v else "epsilon")
                self.assertEqual(wanted.tokenizer("a cat").input_ids, [49406, 320, 2368, 49407])
                self.assertEqual(wanted.tokenizer.pad_token_id, 0 if second else 49407)
                for name, kind in zip(PARTS, (UNet2DConditionModel, AutoencoderKL, CLIPTextModel)):
                    setattr(wanted, name, kind.from_pretrained(os.path.join(source, name)))
                tensors, numbers = states(wanted), outputs(wanted)
                for pipeline in found:
                    self.assertEqual(sorted(states(pipeline)), sorted(tensors))
                    self.assertEqual([name for name, tensor in states(pipeline).items() if not torch.equal(tensor, tensors[name])], [])
                    for one, other in zip(outputs(pipeline), numbers):
                        self.assertTrue(torch.equal(one, other))

    def test_a_controlnet_is_that_of_diffusers(self):
        for linear in (False, True):
            with self.subTest(linear=linear), tempfile.TemporaryDirectory() as folder:
                unet, vae = models(linear)
                control = ControlNetModel.from_unet(unet)
                for parameter in control.parameters():
                    parameter.data = torch.randn_like(parameter)
                weights, _ = nemo_weights(unet, vae)
                weights.update({"model.control_model." + control_name(name): tensor for name, tensor in control.state_dict().items()})
                config = single_file_config(linear)
                stage = {key: value for key, value in config["unet_config"].items() if key not in ("_target_", "from_pretrained", "out_channels")}
                config["control_stage_config"] = {"params": {**stage, "hint_channels": 3}}
                nemo, single, place = (os.path.join(folder, name) for name in ("control.nemo", "control.safetensors", "ControlNetModel"))
                write_nemo(nemo, config, weights)
                self.convert(nemo, single, "--dialect", "ldm")
                control.save_config(place)
                found = ControlNetModel.from_single_file(single, config=place, local_files_only=True).state_dict()
                self.assertEqual(list(found), list(control.state_dict()))
                for name, tensor in control.state_dict().items():
                    self.assertTrue(torch.equal(found[name], tensor), name)

    def convert(self, *arguments):
        subprocess.run([ANEMONE, "convert", *arguments, "-q"], check=True)

    def test_single_files_are_those_of_diffusers(self):
        for linear in (False, True):
            with self.subTest(linear=linear), tempfile.TemporaryDirectory() as folder:
                unet, vae = models(linear)
                weights, shapes = nemo_weights(unet, vae)
                self.assertEqual(sorted(weights), sorted(shapes))
                config = single_file_config(linear)
                nemo, single = os.path.join(folder, "sd.nemo"), os.path.join(folder, "sd.safetensors")
                write_nemo(nemo, config, weights)
                told = subprocess.run([ANEMONE, "inspect", nemo], check=True, capture_output=True, text=True).stdout
                self.assertIn("OUT.safetensors --dialect ldm (for other programs)", told)
                self.convert(nemo, single, "--dialect", "ldm")
                for model, kind in ((unet, UNet2DConditionModel), (vae, AutoencoderKL)):
                    place = os.path.join(folder, kind.__name__)
                    model.save_config(place)
                    loaded = kind.from_single_file(single, config=place, local_files_only=True)
                    found, wanted = loaded.state_dict(), model.state_dict()
                    self.assertEqual(list(found), list(wanted))
                    for name, tensor in wanted.items():
                        self.assertTrue(torch.equal(found[name], tensor), name)
                back = os.path.join(folder, "back.nemo")
                hparams = os.path.join(folder, "hparams.yaml")
                with open(hparams, "w") as file:
                    yaml.safe_dump(config, file)
                self.convert(single, back, "--hparams", hparams)
                with tarfile.open(back) as tar:
                    files = {os.path.normpath(member.name): tar.extractfile(member).read() for member in tar if member.isfile()}
                again = torch.load(io.BytesIO(files["model_weights.ckpt"]), weights_only=True)
                self.assertEqual(sorted(again), sorted(weights))
                self.assertTrue(all(torch.equal(again[name], tensor) for name, tensor in weights.items()))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
