"""LLaVA-1.5 with a video type: the decoder reads `t1 v1 t2 v2 ... tN vN`, a temporal prompt before every frame.

One seam: a video becomes the embeddings of its temporal prompts and its projected frame features, and LLaVA's own
`prepare_inputs_labels_for_multimodal` splices them in where the placeholder stands. Labels, padding sides,
generation and saving stay LLaVA's.

Shapes: B batch, S text positions, T frames of one video, k ids of a temporal prompt, m visual tokens of a frame (one
unless the config says otherwise), C feature width, D hidden size, P patches of an image, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..core.errors import V2XumError
from ..core.timeline import Timeline, as_template
from ..features.nested_tower import build_tower, in_checkpoint
from ..features.upstream import (
    IGNORE_INDEX,
    IMAGE_TOKEN_INDEX,
    AutoConfig,
    AutoModelForCausalLM,
    CausalLMOutputWithPast,
    LlavaLlamaForCausalLM,
    LlavaMetaForCausalLM,
    LogitsProcessorList,
    llava_arch,
    llava_model,
)
from . import packing, placeholders
from .compat import mend_calls, mend_encoding, splicing_of
from .config import LlavaV2XumConfig, not_of_llava_15
from .start_ids import StartIds


class LlavaV2XumForCausalLM(LlavaLlamaForCausalLM):
    """LLaVA-1.5's Llama that also takes videos.

    Raises:
        V2XumError: if the config's timeline or frame feature is not a valid one.
    """

    config_class = LlavaV2XumConfig
    accepts_loss_kwargs = False  # LLaVA's forward takes none; transformers 5's trainer would hand them to **kwargs

    def __init__(self, config: LlavaV2XumConfig) -> None:
        config.timeline  # noqa: B018  (a bad one must fail here, not at the first video)
        feature = config.feature
        super().__init__(config)
        self._table: tuple[list, Tensor] | None = None  # see `_prompt_table`
        if feature.has_own_tower:
            self.model.vision_tower = feature.tower(in_checkpoint(config, config.frame_tower))
        if feature.has_own_tower or feature.has_own_projector:
            self.model.mm_projector = feature.projector(config)

    def bind_timeline(self, tokenizer, timeline: Timeline | None = None) -> None:
        """Write the timeline and the ids that `tokenizer` gives to its temporal prompts into the config.

        Raises:
            V2XumError: if the prompts do not all give the same number of ids.
        """
        config, timeline = self.config, timeline or self.config.timeline
        config.num_frames, config.temporal_prompt_template = timeline.num_frames, timeline.template
        config.frame_sampling = timeline.rule
        config.temporal_prompt_ids = config.prompt_ids(tokenizer)
        for name in ("temporal_prompts", "frame_feature", "frame_tokens"):
            setattr(config, name, getattr(config, name))  # a class-level default would not be saved

    def choose_feature(self, model_args) -> None:
        """Take the kind of frame feature from training's arguments; what they leave open stays the checkpoint's.

        To be called before LLaVA's `initialize_vision_modules`, which loads the tower that it finds here.

        Raises:
            V2XumError: for a kind that is not known, or tokens that it cannot give.
        """
        config = self.config
        if config.feature.has_own_tower:
            self.model.vision_tower = None  # for another kind LLaVA builds its own
        config.frame_feature = model_args.frame_feature or config.frame_feature
        config.frame_tokens = model_args.frame_tokens or config.frame_tokens
        feature = config.feature  # checked before the tower is loaded
        if feature.has_own_tower:
            config.frame_tower = model_args.vision_tower
            self.model.vision_tower = feature.tower(config.frame_tower)

    def initialize_vision_tokenizer(self, model_args, tokenizer) -> None:
        """LLaVA's hook of the same name; also binds the timeline, as this is where training has the tokenizer.

        Raises:
            V2XumError: if the base came with a projector for another feature, or for a timeline that is none.
        """
        super().initialize_vision_tokenizer(model_args, tokenizer)
        self.config.feature.check_projector(self.get_model().mm_projector, self.config.mm_hidden_size)
        here = self.config.timeline
        num_frames = getattr(model_args, "num_frames", None) or here.num_frames
        template = getattr(model_args, "temporal_prompt_template", None) or here.template
        rule = getattr(model_args, "frame_sampling", None) or here.rule
        if getattr(model_args, "temporal_prompts", None) is not None:
            self.config.temporal_prompts = model_args.temporal_prompts
        self.bind_timeline(tokenizer, Timeline(num_frames, as_template(template), rule=rule))

    def encode_images(self, images: Tensor) -> Tensor:
        """The seam: what LLaVA splices in for each row of `images`.

        Args:
            images: pixels of still images [B, 3, H, W]; or frame features of one video [T, C] (or [T, m, C]); or a
                media item that is already embedded, [L, 1, 1, D] (see `embed_media`).

        Returns:
            [B, P, D] for images, [T, k + m, D] for a video, [L, 1, D] for what was embedded before.
        """
        if images.ndim in (2, 3):
            return self._bind_frames([images], [None])[0]
        if images.ndim == 4 and images.shape[1] == 1:  # pixels have three channels
            return images.flatten(1, 2)
        projector = next(self.get_model().mm_projector.parameters())
        return super().encode_images(images.to(projector.dtype))  # LLaVA's CLI brings float16, whatever the model is

    def encode_video(self, video: Tensor, frame_indices: Tensor | None = None) -> Tensor:
        """One video as the decoder reads it: for each frame its temporal prompt and its visual tokens.

        Args:
            video: frame features [T, C] (or [T, m, C]) or pixels [T, 3, H, W].
            frame_indices: int64 [T], the index on the timeline of each frame; 0..T-1 if None.

        Returns:
            [T, k + m, D] in the model's own dtype.

        Raises:
            V2XumError: if the frames, their indexes or the feature width do not fit the model.
        """
        return self._bind_frames(self._features_of([video]), [frame_indices])[0]

    @torch.no_grad()
    def encode_frames(self, pixels: Tensor, batch_size: int = placeholders.FRAMES_AT_ONCE) -> Tensor:
        """Frame features [T, C] (or [T, m, C]) of pixels [T, 3, H, W], by the vision tower (frozen), in its dtype.

        Raises:
            V2XumError: if the model has no vision tower loaded.
        """
        tower, feature = self.get_vision_tower(), self.config.feature
        if tower is None or not tower.is_loaded:
            raise V2XumError(
                "pixels were given, but the model's vision tower is not loaded: call "
                "model.get_vision_tower().load_model(), or give frame features [T, C]"
            )
        return torch.cat([feature.of(tower, batch) for batch in pixels.to(tower.dtype).split(batch_size)])

    def _features_of(self, videos: Iterable[Tensor]) -> list[Tensor]:
        """Frame features as they are, or those of pixels; checked against what the projector takes."""
        features = [self.encode_frames(video) if placeholders.is_pixels(video) else video for video in videos]
        shape = self.config.feature_shape[1:]
        for video in features:
            if tuple(video.shape[1:]) != shape:
                expected = ", ".join(str(size) for size in shape)
                raise V2XumError(
                    f"a video must be frame features [T, {expected}] ({self.config.frame_feature}) or pixels "
                    f"[T, 3, H, W], got shape {list(video.shape)}"
                )
        return features

    def _bind_frames(
        self, videos: list[Tensor], indices: list[Tensor | None], stills: Sequence[Tensor] = ()
    ) -> list[Tensor]:
        """Each [T, C] -> [T, k + m, D]: the temporal prompts, and behind each its frame's projected features.

        All videos go through the embedding and the projector in one call each, and still images (patch features [P, C]
        -> [P, 1, D], behind the videos) through the projector's, which is also what ZeRO-3 needs: it gathers weights at
        every call, and each process must make as many.
        """
        table = self._prompt_table()
        lengths = [len(video) for video in videos]
        for length, index in zip(lengths, indices):
            placeholders.check_frames(length, index, len(table))
        weight = next(self.get_model().mm_projector.parameters())
        features = torch.cat([video.to(weight.device, weight.dtype) for video in videos])
        stills = [still.to(weight.device, weight.dtype) for still in stills]
        visual, stills = self.config.feature.project_beside(self.get_model().mm_projector, features, stills)
        visual = visual.to(table.device, self.get_input_embeddings().weight.dtype)
        if len(set(lengths)) == 1 and all(index is None for index in indices):
            prompts = self.get_input_embeddings()(table[: lengths[0]])[None]  # looked up once for all videos
            visual = visual.unflatten(0, (len(videos), -1))
            return [*torch.cat([prompts.expand(len(videos), -1, -1, -1), visual], dim=2).unbind(0), *stills]
        shown = [torch.arange(size) if index is None else index for size, index in zip(lengths, indices)]
        prompts = self.get_input_embeddings()(table[torch.cat([index.to(table.device) for index in shown])])
        bound = torch.cat([prompts, visual], dim=1)
        return [*bound.split(lengths), *stills]

    def _prompt_table(self) -> Tensor:
        """int64 [N, k], the ids of the temporal prompts, beside the embedding ([N, 0] without prompts)."""
        ids, device = self.config.temporal_prompt_ids, self.get_input_embeddings().weight.device
        if ids is None:
            raise V2XumError("the model has no temporal prompts yet: call model.bind_timeline(tokenizer) first")
        if self._table is None or self._table[0] is not ids or self._table[1].device != device:
            with torch.inference_mode(False):  # it stays: one that was made there could not be used in training
                self._table = ids, torch.tensor(ids, dtype=torch.long, device=device)
        return self._table[1]

    def embed_media(
        self, media: Sequence[Tensor], frame_indices: Sequence[Tensor | None] | None = None
    ) -> list[Tensor]:
        """Still images [3, H, W], videos [T, C] or [T, 3, H, W] -> their embeddings, each [L, 1, 1, D].

        The extra two axes are what LLaVA's concatenate, split and flatten expect of items of different lengths.
        Items that are embedded already pass through.
        """
        if getattr(self.config, "mm_patch_merge_type", "flat") != "flat":
            raise V2XumError(not_of_llava_15(self.config.mm_patch_merge_type))
        indices = frame_indices if frame_indices is not None else [None] * len(media)
        embedded = {place: item for place, item in enumerate(media) if item.ndim == 4 and item.shape[1] == 1}
        stills = {place: item for place, item in enumerate(media) if place not in embedded and self._is_image(item)}
        videos = {place: item for place, item in enumerate(media) if place not in embedded and place not in stills}
        shown = [indices[place] for place in videos]
        if stills and not videos:  # the embedding is called as often as in a process with videos
            videos, shown = {-1: self._no_frame()}, [None]
        if videos:
            features = self._features_of(videos.values())
            bound = self._bind_frames(features, shown, self._patches_of(list(stills.values())))
            if -1 in videos:  # and as often in the backward pass: nothing of it, which stays in the graph
                bound[1] = torch.cat([bound[0].flatten(0, 1)[:0, None], bound[1]])
            embedded |= {place: item.flatten(0, 1)[:, None, None] for place, item in zip([*videos, *stills], bound)}
        return [embedded[position] for position in range(len(media))]

    def _patches_of(self, stills: list[Tensor]) -> list[Tensor]:
        """LLaVA-1.5's patch features [P, C] of still images [3, H, W], by the tower in one call."""
        if stills:
            self.config.feature.check_images()
        tower = self.get_vision_tower()
        return list(tower(torch.stack(stills).to(tower.dtype))) if stills else []

    def _is_image(self, item: Tensor) -> bool:
        """Whether a media item is a still image [3, H, W] rather than the features of a video of three frames."""
        return item.ndim == 3 and item.shape[0] == 3 and tuple(item.shape[1:]) != self.config.feature_shape[1:]

    def prepare_inputs_labels_for_multimodal(
        self, input_ids, position_ids, attention_mask, past_key_values, labels, images, *more, **named
    ):
        """LLaVA's splicing, for batches that may mix videos, still images and text.

        Args:
            more, named: what a release of LLaVA takes beside these, such as `image_sizes`: for still images alone.
            attention_mask: 1 for text and 0 for padding, or the codes of packed rows (`packing`).
            images: as in LLaVA; or a list in the order of the placeholders, of images and videos (`embed_media`).
                Rows without a placeholder need no item of their own.

        Returns:
            As LLaVA's. The mask is always given, as rows of different length are padded.

        Raises:
            V2XumError: if there are more or fewer items than placeholders.
        """
        rest = (position_ids, attention_mask, past_key_values, labels)
        stock = super().prepare_inputs_labels_for_multimodal
        if input_ids is None or input_ids.shape[1] == 1:
            return stock(input_ids, *rest, images, *more, **named)
        packed = packing.is_packed(attention_mask)
        text_alone = images is None and (packed or (self.training and self.config.temporal_prompt_ids is not None))
        if not text_alone and not self._holds_videos(images):
            return stock(input_ids, *rest, images, *more, **named)
        embedded = self.embed_media([] if images is None else list(images))
        media = placeholders.one_item_per_place(input_ids, embedded, embedded[0][:0] if embedded else self._no_media())
        placeholders.check_length(input_ids, attention_mask, media, self.config)
        if packed:
            return self._prepare_packed(input_ids, attention_mask, labels, media)
        if attention_mask is None:  # else LLaVA returns none, and padding of unequal rows would be attended to
            attention_mask = torch.ones_like(input_ids)
        rest = (position_ids, attention_mask, past_key_values, labels)
        return stock(input_ids, *rest, media, **splicing_of(stock, media))

    def _no_media(self) -> Tensor:
        """[0, 1, 1, D], out of the projector: in a batch of text alone it must run too, or other processes wait for it.

        ZeRO-3 gathers its weights at every call, and data parallel training expects a gradient of every weight.
        """
        return self._bind_frames([self._no_frame()], [None])[0].flatten(0, 1)[:0, None, None]

    def _no_frame(self) -> Tensor:
        return torch.zeros(1, *self.config.feature_shape[1:], device=self.device)

    def _prepare_packed(self, input_ids, attention_mask, labels, media):
        """Rows of several samples (`packing`): LLaVA splices; positions and attention are those of the samples."""
        packing.check_attention(self.config)
        stock = super().prepare_inputs_labels_for_multimodal
        _, _, _, _, embeds, labels = stock(
            input_ids, None, attention_mask, None, labels, media, **splicing_of(stock, media)
        )
        side = getattr(self.config, "tokenizer_padding_side", "right")
        codes = packing.spread(input_ids, attention_mask, [len(item) for item in media], embeds.shape[1], side)
        return None, packing.positions(codes), packing.attention_mask_of(codes, embeds.dtype), None, embeds, labels

    def forward(self, input_ids=None, attention_mask=None, labels=None, videos=None, video_indices=None, **kwargs):
        """LLaVA's forward with videos.

        Args:
            input_ids: int64 [B, S] with LLaVA's placeholder (-200) where a video stands.
            attention_mask: [B, S] or None.
            labels: int64 [B, S], -100 where no loss is wanted, or None.
            videos: a list of frame features [T, C] or pixels [T, 3, H, W], one for each video in the order of the
                placeholders.
            video_indices: for each video (of a list `images`, for each item) the timeline indexes int64 [T] of its
                frames, or None for 0..T-1.
            kwargs: the other arguments of LLaVA's forward.

        Returns:
            Its logits are [B, L, V] over the expanded sequence (each video of T frames takes T (k + m) positions). In
            training mode with labels there is the loss alone.
        """
        if input_ids is not None:
            input_ids = input_ids.to(self.get_input_embeddings().weight.device)
        if self.training:
            calls = placeholders.tower_calls(kwargs.get("images") if videos is None else videos, self._is_image)
            placeholders.keep_pace(self.get_vision_tower(), calls, self.encode_frames, self.device)
        kwargs["images"] = self._media(input_ids, kwargs.get("images"), videos, video_indices)
        if self.training and labels is not None and input_ids is not None:
            return self._training_step(input_ids, attention_mask, labels, kwargs["images"])
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, labels=labels, **kwargs)

    def _training_step(self, input_ids, attention_mask, labels, images) -> CausalLMOutputWithPast:
        """The loss alone: the mean cross entropy of the learned tokens, logits made for those and for no others.

        Of a summary's positions five in six are frames and prompt, which nobody learns; logits for them are the largest
        tensor of a training step (B L V float32 and as much again for the gradient).
        """
        _, position_ids, attention_mask, _, embeds, labels = self.prepare_inputs_labels_for_multimodal(
            input_ids, None, attention_mask, None, labels, images
        )
        inputs = {"inputs_embeds": embeds} if embeds is not None else {"input_ids": input_ids}
        hidden = self.model(attention_mask=attention_mask, position_ids=position_ids, use_cache=False, **inputs)[0]
        targets = labels[:, 1:].to(hidden.device)
        learned = targets != IGNORE_INDEX
        logits = self.lm_head(hidden[:, :-1][learned]).float()
        if not len(logits):  # nothing to learn: no nan, and a gradient for every process to reduce
            return CausalLMOutputWithPast(loss=hidden.float().sum() * 0 + logits.sum())
        return CausalLMOutputWithPast(loss=torch.nn.functional.cross_entropy(logits, targets[learned]))

    @torch.no_grad()
    def generate(self, inputs=None, videos=None, video_indices=None, **kwargs):
        """LLaVA's generate with videos (see `forward`); returns the new ids only, [B, new]."""
        inputs = kwargs.pop("input_ids", inputs).to(self.get_input_embeddings().weight.device)
        kwargs["images"] = self._media(inputs, kwargs.get("images"), videos, video_indices)
        side = getattr(self.config, "tokenizer_padding_side", "right")
        self.config.tokenizer_padding_side = "left"  # a row's next token must follow its last one
        start = StartIds()
        kwargs["logits_processor"] = LogitsProcessorList([*(kwargs.get("logits_processor") or ()), start])
        try:
            output = super().generate(inputs, **kwargs)
        finally:
            self.config.tokenizer_padding_side = side
        if isinstance(output, Tensor):
            return output[:, start.count :]
        output.sequences = output.sequences[:, start.count :]
        return output

    def _holds_videos(self, images) -> bool:
        """Whether LLaVA's `images` argument has a video among its items."""
        if images is None or getattr(self.config, "image_aspect_ratio", None) == "anyres":
            return False  # there, an item with four axes is one image in tiles
        if isinstance(images, Tensor):
            return images.ndim in (3, 5)  # [B, T, C] or [B, T, 3, H, W]; still images have four axes
        return any(item.ndim != 3 or not self._is_image(item) for item in images)

    def _media(self, input_ids, images, videos, video_indices):
        """What stands for LLaVA's `images`: those, or the media, embedded."""
        if videos is None and images is None and input_ids is not None and (input_ids == IMAGE_TOKEN_INDEX).any():
            raise V2XumError(f"input_ids hold placeholders ({IMAGE_TOKEN_INDEX}), but no videos and no images came")
        if videos is None and (images is None or video_indices is None):
            return images
        if videos is not None and images is not None:
            raise V2XumError(
                "give either videos, or images as one list in the order of the placeholders (an item with three "
                "axes is an image, any other a video), not both"
            )
        media = list(images if videos is None else videos)
        placeholders.check_counts(int((input_ids == IMAGE_TOKEN_INDEX).sum()), media, video_indices)
        for video in videos or ():
            if video.ndim not in (2, 4) and tuple(video.shape[1:]) != self.config.feature_shape[1:]:
                self._features_of([video])  # says what it should be
        return self.embed_media(media, video_indices)


for model_class in LlavaMetaForCausalLM.__subclasses__():  # LLaVA's own, of which ours is made
    mend_calls(model_class)
mend_encoding(LlavaV2XumForCausalLM, LlavaMetaForCausalLM)

llava_arch.build_vision_tower = build_tower  # LLaVA's own, for all that it knows

# as LLaVA's own model files do
AutoConfig.register(LlavaV2XumConfig.model_type, LlavaV2XumConfig, exist_ok=True)
AutoModelForCausalLM.register(LlavaV2XumConfig, LlavaV2XumForCausalLM, exist_ok=True)
llava_model.LlavaV2XumConfig, llava_model.LlavaV2XumForCausalLM = LlavaV2XumConfig, LlavaV2XumForCausalLM
