// The picture: one NiiVue, a base volume, overlays, the crosshair. Knows nothing of the page around it.

const SLICES = { axial: 0, coronal: 1, sagittal: 2, all: 3, render: 4 };
const LABEL_INTENT = 1002; // NIFTI_INTENT_LABEL: NiiVue outlines such volumes
const HIDDEN_BELOW_MIN = 2; // colours run from 0 to cal_max, nothing is drawn below cal_min (by NiiVue's shader, not its names)
const CROSSHAIR = 0.35; // per cent of the picture's height
const FILL_OF_OUTLINED = 0.2; // share of its opacity that the inside of an outlined mask keeps
const WINDOWING = 9; // NiiVue's DRAG_MODE.windowing

// Okabe and Ito's colours: blues and green for the reference, warm ones for the prediction.
export const MASK_COLOURS = {
  reference: [[86, 180, 233], [0, 114, 178], [0, 158, 115]],
  prediction: [[230, 159, 0], [213, 94, 0], [204, 121, 167], [240, 228, 66]],
};
const RAMPS = {
  "grcsf-warm": [[140, 60, 0], [230, 120, 20], [255, 230, 160]],
  "grcsf-cold": [[20, 60, 150], [60, 140, 220], [200, 235, 255]],
  "grcsf-violet": [[70, 20, 110], [200, 70, 130], [255, 200, 90]],
};

export class Scene {
  constructor(canvas) {
    this.canvas = canvas;
    this.base = null;
    this.overlays = [];
    this.view = "all";
    this.picture = false;
    this.onLocation = () => {};
    this.onWindow = () => {};
    this.pending = 0;
    this.outlined = false;
    this.baseChanged = false;
  }

  async start() {
    if (!document.createElement("canvas").getContext("webgl2")) {
      throw new Error(
        "This browser cannot draw volumes: it offers no WebGL 2. Turn hardware acceleration on, or use another browser.",
      );
    }
    const { Niivue } = window.niivue;
    this.nv = new Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.35, 0.95, 0.55, 0.9],
      crosshairWidth: CROSSHAIR,
      crosshairWidthUnit: "percent",
      crosshairGap: 6,
      fontColor: [0.85, 0.87, 0.9, 1],
      show3Dcrosshair: true,
      dragAndDropEnabled: false,
      dragMode: WINDOWING,
      isForceMouseClickToVoxelCenters: true,
      isRadiologicalConvention: true,
      multiplanarShowRender: 1,
      multiplanarLayout: 2,
      multiplanarPadPixels: 2,
      loadingText: "",
      logLevel: "error",
      viewModeHotKey: "",
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
      isAntiAlias: false,
    });
    await this.nv.attachToCanvas(this.canvas, false);
    for (const [name, colours] of Object.entries(RAMPS)) this.nv.addColormap(name, ramp(colours));
    this.nv.onLocationChange = (place) => this.onLocation([...place.mm].slice(0, 3));
    this.nv.onIntensityChange = (volume) => {
      if (volume === this.base) this.onWindow(volume.cal_min, volume.cal_max);
    };
  }

  /** A volume from the bytes of a file; the name's ending says which format. */
  async read(buffer, name = "volume.nii") {
    const volume = await window.niivue.NVImage.loadFromUrl({ url: buffer, name });
    if (!volume || !volume.img || !volume.dimsRAS) throw new Error("The file is not a volume that can be shown.");
    const largest = Math.max(...volume.dimsRAS.slice(1, 4));
    const most = this.nv.gl.getParameter(this.nv.gl.MAX_3D_TEXTURE_SIZE);
    if (largest > most) {
      throw new Error(`The volume has ${largest} voxels along an axis; this browser draws at most ${most}.`);
    }
    volume.extremes = extremes(volume.img);
    return volume;
  }

  /** The volume below everything; choose its window, then mount it. */
  setBase(volume, picture) {
    this.base = volume;
    this.picture = picture;
    this.overlays = [];
    volume.colormap = "gray";
    volume.opacity = 1;
    this.nv.opts.isRadiologicalConvention = !picture;
    this.nv.opts.isOrientationTextVisible = !picture;
  }

  /** Draw a new base now. */
  mount() {
    cancelAnimationFrame(this.pending);
    this.pending = 0;
    this.upload(true);
    this.setView(this.view);
  }

  /** The crosshair in the middle of the volume, on the middle of a voxel. */
  centre() {
    const middle = this.base.hdr.dims.slice(1, 4).map((size) => Math.floor(size / 2));
    this.jump(voxelCentre(this.base, middle));
  }

  /** Overlays to draw, lowest first. */
  setOverlays(volumes) {
    this.overlays = volumes;
    this.refresh();
  }

  clear() {
    this.base = null;
    this.overlays = [];
    this.nv.volumes = [];
    this.nv.overlays = [];
    this.nv.back = null;
    this.nv.updateGLVolume();
  }

  /** Draw once more in the next frame, however often it is asked for until then. */
  refresh(withBase = false) {
    this.baseChanged ||= withBase;
    if (this.pending || !this.base) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      if (this.base) this.upload(this.baseChanged);
    });
  }

  /** Give the volumes to the graphics card; that of the base costs most and is left where it is if it did not change. */
  upload(withBase) {
    this.baseChanged = false;
    const before = this.nv.overlays;
    const shown = this.overlays.length ? [...this.overlays] : before.slice(0, withBase ? 0 : 1);
    this.nv.volumes = [this.base, ...shown];
    this.nv.back = this.base;
    this.nv.overlays = shown;
    if (withBase) this.nv.updateGLVolume();
    else if (this.overlays.length) shown.forEach((volume, index) => this.nv.refreshLayers(volume, index + 1));
    else if (shown.length) this.hide(shown[0]);
    this.nv.drawScene();
  }

  /** Draw an overlay fully transparent: without any, NiiVue would have to be given the base again. */
  hide(volume) {
    const [opacity, outline] = [volume.opacity, this.nv.opts.atlasOutline];
    volume.opacity = this.nv.opts.atlasOutline = 0;
    this.nv.refreshLayers(volume, 1);
    volume.opacity = opacity;
    this.nv.opts.atlasOutline = outline;
  }

  styleMask(volume, role, names) {
    const colours = MASK_COLOURS[role];
    const values = [0, ...Object.keys(names).map(Number)];
    for (let value = 1; value <= Math.min(volume.extremes[1], 255); value++) if (!values.includes(value)) values.push(value);
    values.sort((a, b) => a - b);
    const table = { R: [], G: [], B: [], A: [], I: [], labels: [] };
    for (const value of values) {
      const colour = value ? colours[(values.indexOf(value) - 1) % colours.length] : [0, 0, 0];
      table.R.push(colour[0]);
      table.G.push(colour[1]);
      table.B.push(colour[2]);
      table.A.push(value ? 255 : 0);
      table.I.push(value);
      table.labels.push(value ? (names[value] ?? `label ${value}`) : "");
    }
    volume.setColormapLabel(table);
    volume.hdr.intent_code = LABEL_INTENT;
  }

  /** Colours of a map of numbers; gives {low, high, signed}: the range of its threshold. */
  styleMap(volume, kind) {
    const range = mapRange(volume, kind);
    const warm = range.signed || kind.startsWith("residual");
    volume.colormap = kind === "prob" ? "grcsf-violet" : warm ? "grcsf-warm" : "viridis";
    if (range.signed) volume.colormapNegative = "grcsf-cold";
    volume.colormapType = HIDDEN_BELOW_MIN;
    return range;
  }

  setThreshold(volume, range, threshold) {
    volume.cal_min = Math.min(threshold, range.high * 0.999);
    volume.cal_max = range.high;
    if (range.signed) {
      volume.cal_minNeg = -volume.cal_min;
      volume.cal_maxNeg = -range.high;
    }
    this.refresh();
  }

  setOpacity(volume, opacity) {
    const isMask = volume.hdr.intent_code === LABEL_INTENT;
    volume.opacity = isMask && this.outlined ? FILL_OF_OUTLINED * opacity : opacity;
    this.refresh();
  }

  /** Outlines instead of filled masks; call setOpacity of the masks after it. */
  setOutline(on) {
    this.outlined = on;
    this.nv.opts.atlasOutline = on ? 1 : 0;
    this.refresh();
  }

  setWindow(low, high) {
    if (!this.base || !(high > low)) return;
    this.base.cal_min = low;
    this.base.cal_max = high;
    this.refresh(true);
  }

  /** The window that shows nearly all grey values: NiiVue's 2 and 98 per cent of those above the darkest. */
  autoWindow() {
    const { robust_min: low, robust_max: high, extremes: [least, most] } = this.base;
    return high > low ? [low, high] : [least, most > least ? most : least + 1];
  }

  /** Whether the grey values look like Hounsfield units. */
  looksLikeCt() {
    return this.base.extremes[0] <= -500 && this.base.extremes[1] >= 100;
  }

  /** Views that make sense: a single slice is shown in its own plane only. */
  views() {
    if (!this.base) return ["all"];
    const [, x, y, z] = this.base.dimsRAS;
    if (this.picture || z === 1) return ["axial"];
    if (y === 1) return ["coronal"];
    if (x === 1) return ["sagittal"];
    return ["all", "axial", "coronal", "sagittal", "render"];
  }

  setView(view) {
    this.view = view;
    const allowed = this.views();
    const shown = allowed.includes(view) ? view : allowed[0];
    this.nv.setSliceType(SLICES[shown]);
    this.nv.drawScene();
    return shown;
  }

  jump(mm) {
    if (!this.base) return;
    this.nv.scene.crosshairPos = this.nv.mm2frac(mm, 0, true);
    this.nv.createOnLocationChange();
    this.nv.drawScene();
  }

  move(x, y, z) {
    if (this.base) this.nv.moveCrosshairInVox(x, y, z);
  }

  crosshair() {
    return this.base ? [...this.nv.frac2mm(this.nv.scene.crosshairPos, 0, true)].slice(0, 3) : null;
  }

  toggleCrosshair() {
    this.nv.setCrosshairWidth(this.nv.opts.crosshairWidth ? 0 : CROSSHAIR);
  }

  /** Value of the voxel that holds a position, none outside of the volume. */
  value(volume, mm) {
    const voxel = fileVoxel(volume, mm);
    if (voxel.some((place, axis) => place < 0 || place >= volume.hdr.dims[axis + 1])) return null;
    const found = volume.getValue(...volume.mm2vox([...voxelCentre(volume, voxel), 1]));
    return Number.isFinite(found) ? found : null;
  }

  /** The picture as a PNG. */
  screenshot() {
    this.nv.drawScene();
    return new Promise((resolve, reject) => {
      this.canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("No picture could be made."))), "image/png");
    });
  }
}

/** Index of the voxel of the file that holds a position. */
export function fileVoxel(volume, mm) {
  const [a, b, c] = volume.hdr.affine.slice(0, 3);
  const inverse = invert3([a.slice(0, 3), b.slice(0, 3), c.slice(0, 3)]);
  const shifted = [mm[0] - a[3], mm[1] - b[3], mm[2] - c[3]];
  return inverse.map((row) => Math.round(row[0] * shifted[0] + row[1] * shifted[1] + row[2] * shifted[2]) + 0);
}

/** Position of the middle of a voxel of the file, mm RAS. */
export function voxelCentre(volume, voxel) {
  return volume.hdr.affine.slice(0, 3).map((row) => row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + row[3]);
}

function invert3([[a, b, c], [d, e, f], [g, h, i]]) {
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  return [
    [(e * i - f * h) / det, (c * h - b * i) / det, (b * f - c * e) / det],
    [(f * g - d * i) / det, (a * i - c * g) / det, (c * d - a * f) / det],
    [(d * h - e * g) / det, (b * g - a * h) / det, (a * e - b * d) / det],
  ];
}

/** Smallest and largest value; NiiVue's own leave out the border of the volume. */
function extremes(values) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return [least, most];
}

/** Probabilities run from 0 to 1; other maps to a high value that few voxels exceed. */
function mapRange(volume, kind) {
  if (kind === "prob") return { low: 0, high: 1, signed: false };
  const step = Math.max(1, Math.floor(volume.img.length / 200000));
  const sizes = [];
  for (let index = 0; index < volume.img.length; index += step) {
    const value = Math.abs(volume.img[index]);
    if (value > 0) sizes.push(value);
  }
  sizes.sort((first, second) => first - second);
  const high = sizes.length ? sizes[Math.floor(0.995 * (sizes.length - 1))] : 1;
  return { low: 0, high: high || 1, signed: volume.extremes[0] < 0 };
}

function ramp(colours) {
  const last = colours.length - 1;
  return {
    R: colours.map((colour) => colour[0]),
    G: colours.map((colour) => colour[1]),
    B: colours.map((colour) => colour[2]),
    A: colours.map((_, index) => (index ? 255 : 0)), // zero is not drawn
    I: colours.map((_, index) => Math.round((255 * index) / last)),
  };
}

export function rampCss(kind, signed) {
  const css = (name) => RAMPS[name].map((colour) => `rgb(${colour})`);
  if (kind === "prob") return `linear-gradient(90deg, ${css("grcsf-violet")})`;
  if (!signed && !kind.startsWith("residual")) return "linear-gradient(90deg, #440154, #31688e, #35b779, #fde725)";
  return `linear-gradient(90deg, ${[...(signed ? css("grcsf-cold").reverse() : []), ...css("grcsf-warm")]})`;
}
