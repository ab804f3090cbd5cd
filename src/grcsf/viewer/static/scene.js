// The picture: one NiiVue, a base volume, overlays, the crosshair. Knows nothing of the page around it.

const SLICES = { axial: 0, coronal: 1, sagittal: 2, all: 3, render: 4 };
const LABEL_INTENT = 1002; // NIFTI_INTENT_LABEL: NiiVue outlines such volumes
const HIDDEN_BELOW_MIN = 2; // colours run from 0 to cal_max, nothing is drawn below cal_min (by NiiVue's shader, not its names)
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
      crosshairWidth: 0.6,
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
    return volume;
  }

  setBase(volume, picture) {
    const fresh = !this.base;
    this.base = volume;
    this.picture = picture;
    this.overlays = [];
    volume.colormap = "gray";
    volume.opacity = 1;
    this.nv.opts.isRadiologicalConvention = !picture;
    this.nv.opts.isOrientationTextVisible = !picture;
    this.upload();
    if (fresh) this.nv.resizeListener?.();
    this.setView(this.view);
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
  refresh() {
    if (this.pending || !this.base) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      if (this.base) this.upload();
    });
  }

  upload() {
    this.nv.volumes = [this.base, ...this.overlays];
    this.nv.back = this.base;
    this.nv.overlays = [...this.overlays];
    this.nv.updateGLVolume();
  }

  styleMask(volume, role, names) {
    const colours = MASK_COLOURS[role];
    const values = [0, ...Object.keys(names).map(Number)];
    for (let value = 1; value <= Math.min(volume.global_max, 255); value++) if (!values.includes(value)) values.push(value);
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
    volume.colormap = kind === "prob" ? "grcsf-violet" : kind.startsWith("residual") ? "grcsf-warm" : "viridis";
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
    volume.opacity = opacity;
    this.refresh();
  }

  setOutline(on) {
    this.nv.opts.atlasOutline = on ? 1 : 0;
    this.refresh();
  }

  setWindow(low, high) {
    if (!this.base || !(high > low)) return;
    this.base.cal_min = low;
    this.base.cal_max = high;
    this.refresh();
  }

  /** The window that shows nearly all grey values: NiiVue's 2 and 98 per cent of those above the darkest. */
  autoWindow() {
    const { robust_min: low, robust_max: high, global_min: least, global_max: most } = this.base;
    return high > low ? [low, high] : [least, most > least ? most : least + 1];
  }

  /** Whether the grey values look like Hounsfield units. */
  looksLikeCt() {
    return this.base.global_min <= -500 && this.base.global_max >= 100;
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
    this.nv.setCrosshairWidth(this.nv.opts.crosshairWidth ? 0 : 1);
  }

  /** Value of a volume at a position, none outside of it. */
  value(volume, mm) {
    const voxel = fileVoxel(volume, mm);
    const size = volume.hdr.dims;
    if (voxel.some((place, axis) => place < 0 || place >= size[axis + 1])) return null;
    const ras = volume.mm2vox([...mm, 1]);
    const found = volume.getValue(...ras);
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

function invert3([[a, b, c], [d, e, f], [g, h, i]]) {
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  return [
    [(e * i - f * h) / det, (c * h - b * i) / det, (b * f - c * e) / det],
    [(f * g - d * i) / det, (a * i - c * g) / det, (c * d - a * f) / det],
    [(d * h - e * g) / det, (b * g - a * h) / det, (a * e - b * d) / det],
  ];
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
  return { low: 0, high: high || 1, signed: volume.global_min < 0 };
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
  if (!kind.startsWith("residual")) return "linear-gradient(90deg, #440154, #31688e, #35b779, #fde725)";
  return `linear-gradient(90deg, ${[...(signed ? css("grcsf-cold").reverse() : []), ...css("grcsf-warm")]})`;
}
