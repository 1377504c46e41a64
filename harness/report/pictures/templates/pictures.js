// Turns the points of a case in three dimensions. Plain canvas, no library, nothing from the network.
// A figure of class pic-3d carries its scene as JSON (harness/report/pictures/cloud.py); nothing is made before it scrolls into view.
(() => {
  "use strict";
  const PALETTE = []; // written in by harness/report/pictures/__init__.py
  const YAW = 0.55, PITCH = -0.32, BACK = 3.0;

  function unpack([corner, size, base64]) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const steps = new DataView(bytes.buffer), points = new Float64Array(bytes.length / 2);
    for (let i = 0; i < points.length; i++) points[i] = corner[i % 3] + (steps.getUint16(2 * i, true) / 65535) * size[i % 3];
    return points;
  }

  function rotation([, , , x, y, z, w]) {
    const n = Math.hypot(x, y, z, w);
    [x, y, z, w] = [x / n, y / n, z / n, w / n];
    return [
      1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
      2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
      2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
    ];
  }

  function moved(points, T) {
    const R = rotation(T), s = T[7], Y = new Float64Array(points.length);
    for (let i = 0; i < points.length; i += 3) {
      const x = points[i], y = points[i + 1], z = points[i + 2];
      for (let k = 0; k < 3; k++) Y[i + k] = s * (R[3 * k] * x + R[3 * k + 1] * y + R[3 * k + 2] * z) + T[k];
    }
    return Y;
  }

  // Degrees between the rays of a match, or pixels between its projections; NaN where there is none.
  function errorSize(scene, a, b, i) {
    const [ax, ay, az, bx, by, bz] = [a[i], a[i + 1], a[i + 2], b[i], b[i + 1], b[i + 2]];
    if (scene.K) {
      if (!(az > 0 && bz > 0)) return NaN;
      return Math.hypot(scene.K[0] * (ax / az - bx / bz), scene.K[4] * (ay / az - by / bz));
    }
    const cross = Math.hypot(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx);
    return (Math.atan2(cross, ax * bx + ay * by + az * bz) * 180) / Math.PI;
  }

  function colourOf(scene, size) {
    if (Number.isNaN(size)) return PALETTE.length;
    const at = Math.log(size / scene.low) / Math.log(scene.high / scene.low);
    return Math.max(0, Math.min(PALETTE.length - 1, Math.floor(at * (PALETTE.length - 1) + 0.5)));
  }

  function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  class View {
    constructor(figure) {
      this.figure = figure;
      this.scene = JSON.parse(figure.dataset.scene);
      this.Xk = unpack(this.scene.k);
      this.Xf = unpack(this.scene.f);
      this.stage = figure.querySelector(".pic-stage");
      this.canvas = make("canvas", { tabindex: 0, role: "application", "aria-label": figure.dataset.label });
      this.context = this.canvas.getContext("2d");
      if (!this.context) return;
      this.stage.append(this.canvas);
      this.chosen = this.scene.start;
      this.lines = false;
      this.controls();
      this.listen();
      this.choose(this.chosen);
      this.reset();
      figure.dataset.running = "";
    }

    controls() {
      const group = "pose-" + Math.random().toString(36).slice(2);
      const poses = make("fieldset", {}, make("legend", {}, "Xf and its camera at"));
      this.scene.poses.forEach((pose, i) => {
        const radio = make("input", { type: "radio", name: group, value: i });
        radio.checked = i === this.chosen;
        radio.addEventListener("change", () => this.choose(i));
        const sign = make("i", { class: "pic-dot " + (pose.colour < 0 ? "pic-muted" : "pic-s" + pose.colour) });
        poses.append(make("label", {}, radio, sign, pose.name));
      });
      this.slider = make("input", { type: "range", min: 0, step: 1, "aria-label": "iteration" });
      this.slider.addEventListener("input", () => this.show(+this.slider.value));
      this.count = make("output", {});
      this.steps = make("label", { class: "pic-steps" }, "step ", this.slider, this.count);
      const lines = make("input", { type: "checkbox" });
      lines.addEventListener("change", () => { this.lines = lines.checked; this.draw(); });
      const button = make("button", { type: "button" }, "Reset view");
      button.addEventListener("click", () => this.reset());
      this.figure.querySelector(".pic-controls").append(poses, this.steps, make("label", {}, lines, "join matches"), button);
    }

    choose(i) {
      this.chosen = i;
      const last = this.scene.poses[i].path.length - 1;
      this.steps.hidden = last === 0;
      this.slider.max = last;
      this.slider.value = last;
      this.show(last);
    }

    show(step) {
      const path = this.scene.poses[this.chosen].path;
      this.T = path[step];
      this.count.textContent = ` ${step} of ${path.length - 1}`;
      this.Y = moved(this.Xf, this.T);
      this.colours = new Uint8Array(this.Y.length / 3);
      for (let i = 0; i < this.colours.length; i++) this.colours[i] = colourOf(this.scene, errorSize(this.scene, this.Xk, this.Y, 3 * i));
      this.draw();
    }

    reset() {
      this.yaw = YAW; this.pitch = PITCH; this.zoom = 1;
      this.draw();
    }

    turn(right, down) {
      this.yaw += right;
      this.pitch = Math.max(-1.5, Math.min(1.5, this.pitch + down));
      this.draw();
    }

    scale(factor) {
      this.zoom = Math.max(0.2, Math.min(30, this.zoom * factor));
      this.draw();
    }

    listen() {
      const canvas = this.canvas, fingers = new Map();
      canvas.addEventListener("pointerdown", (event) => {
        canvas.setPointerCapture(event.pointerId);
        fingers.set(event.pointerId, [event.clientX, event.clientY]);
      });
      canvas.addEventListener("pointermove", (event) => {
        const before = fingers.get(event.pointerId);
        if (!before) return;
        const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]) || 1; };
        const two = fingers.size === 2, was = two ? spread() : 0;
        fingers.set(event.pointerId, [event.clientX, event.clientY]);
        if (two) this.scale(spread() / was);
        else this.turn((event.clientX - before[0]) * -0.008, (event.clientY - before[1]) * -0.008);
      });
      for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
      // The wheel zooms a view that was clicked or tabbed to; until then it scrolls the page.
      canvas.addEventListener("wheel", (event) => {
        if (document.activeElement !== canvas) return;
        event.preventDefault();
        this.scale(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)));
      }, { passive: false });
      const keys = {
        ArrowLeft: () => this.turn(0.12, 0), ArrowRight: () => this.turn(-0.12, 0), ArrowUp: () => this.turn(0, 0.12), ArrowDown: () => this.turn(0, -0.12),
        "+": () => this.scale(1.2), "=": () => this.scale(1.2), "-": () => this.scale(1 / 1.2), 0: () => this.reset(), Home: () => this.reset(),
      };
      canvas.addEventListener("keydown", (event) => {
        if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        keys[event.key]();
      });
      new ResizeObserver(() => this.draw()).observe(this.stage);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
      new MutationObserver(() => this.draw()).observe(document.documentElement, { attributes: true });
    }

    draw() {
      if (this.context && !this.waiting && this.visible !== false) this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.paint(); });
    }

    // A canvas out of sight gives its memory back.
    see(visible) {
      this.visible = visible;
      if (visible) this.draw();
      else this.canvas.width = this.canvas.height = 0;
    }

    projector(width, height) {
      const { middle, radius } = this.scene, focal = 0.46 * height * BACK * this.zoom;
      const [cy, sy, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
      return (points, i) => {
        let x = (points[i] - middle[0]) / radius, y = (points[i + 1] - middle[1]) / radius, z = (points[i + 2] - middle[2]) / radius;
        [x, z] = [cy * x + sy * z, cy * z - sy * x];
        [y, z] = [cp * y + sp * z, cp * z - sp * y];
        const depth = z + BACK;
        return depth > 0.05 ? [width / 2 + (focal * x) / depth, height / 2 + (focal * y) / depth, depth] : null;
      };
    }

    paint() {
      const width = this.stage.clientWidth, height = this.stage.clientHeight, sharp = Math.min(3, devicePixelRatio || 1);
      if (!width || this.visible === false) return;
      this.canvas.width = Math.round(width * sharp);
      this.canvas.height = Math.round(height * sharp);
      this.context.scale(sharp, sharp);
      const project = this.projector(width, height), context = this.context, palette = [...PALETTE, this.colour("pic-bad")];
      if (this.lines) this.join(project, palette);
      const dots = [];
      for (let i = 0; i < this.Xk.length; i += 3) {
        const a = project(this.Xk, i), b = project(this.Y, i);
        if (a) dots.push([a, -1]);
        if (b) dots.push([b, this.colours[i / 3]]);
      }
      dots.sort((a, b) => b[0][2] - a[0][2]);
      const grey = this.colour("pic-points"), few = Math.cbrt(2400 / (this.Xk.length + 3)), size = Math.max(1.6, (height / 115) * Math.min(3, Math.max(1, few)));
      for (const [[x, y, depth], colour] of dots) {
        const wide = Math.min(12, size * (BACK / depth) * Math.sqrt(this.zoom)) * (colour < 0 ? 0.8 : 1.15);
        context.fillStyle = colour < 0 ? grey : palette[colour];
        context.beginPath();
        context.arc(x, y, wide / 2, 0, 6.2832);
        context.fill();
      }
      this.cameras(project);
      this.figure.dataset.view = [this.yaw, this.pitch, this.zoom].map((value) => value.toFixed(3)).join(" ");
    }

    // What the page, light or dark, makes of a class.
    colour(name) {
      this.probe ??= this.figure.appendChild(make("i", { hidden: "" }));
      this.probe.className = name;
      return getComputedStyle(this.probe).color;
    }

    join(project, palette) {
      const context = this.context;
      context.globalAlpha = 0.55;
      context.lineWidth = 0.8;
      for (let i = 0; i < this.Xk.length; i += 3) {
        const a = project(this.Xk, i), b = project(this.Y, i);
        if (!a || !b) continue;
        context.strokeStyle = palette[this.colours[i / 3]];
        context.beginPath();
        context.moveTo(a[0], a[1]);
        context.lineTo(b[0], b[1]);
        context.stroke();
      }
      context.globalAlpha = 1;
    }

    // Every pose's camera is there, faint; the chosen one and the keyframe's are drawn full.
    cameras(project) {
      const { poses, views } = this.scene;
      poses.forEach((pose, i) => { if (i !== this.chosen) this.camera(project, pose.path.at(-1), views[1], this.colour(pose.colour < 0 ? "pic-muted" : "pic-s" + pose.colour), 0.35); });
      this.camera(project, [0, 0, 0, 0, 0, 0, 1, 1], views[0], this.colour("pic-ink"), 1, "keyframe");
      const chosen = poses[this.chosen];
      this.camera(project, this.T, views[1], this.colour(chosen.colour < 0 ? "pic-muted" : "pic-s" + chosen.colour), 1, "frame");
    }

    camera(project, T, [w, h], colour, alpha, name) {
      const R = rotation(T), reach = (0.2 * this.scene.radius) / Math.max(w, h, 1);
      const corners = [[0, 0, 0], [-w, -h, 1], [w, -h, 1], [w, h, 1], [-w, h, 1], [0, -h * 1.5, 1]].map(([x, y, z]) => {
        const p = [x * reach, y * reach, z * reach];
        return project([0, 1, 2].map((k) => R[3 * k] * p[0] + R[3 * k + 1] * p[1] + R[3 * k + 2] * p[2] + T[k]), 0);
      });
      if (corners.some((corner) => !corner)) return;
      const context = this.context;
      context.globalAlpha = alpha;
      context.strokeStyle = context.fillStyle = colour;
      context.lineWidth = 1.6;
      context.lineJoin = "round";
      context.beginPath();
      for (const path of [[0, 1, 2, 0, 3, 4, 0], [1, 4], [2, 3], [1, 5, 2]]) path.forEach((k, i) => context[i ? "lineTo" : "moveTo"](corners[k][0], corners[k][1]));
      context.stroke();
      if (name) {
        context.font = "12px system-ui, sans-serif";
        context.textAlign = "center";
        const [xs, ys] = [0, 1].map((axis) => corners.map((corner) => corner[axis]));
        const half = context.measureText(name).width / 2 + 4, x = (Math.min(...xs) + Math.max(...xs)) / 2;
        const y = name === "keyframe" ? Math.min(...ys) - 7 : Math.max(...ys) + 15; // one above, one below: they are often at one place
        const inside = (at, least, most) => Math.max(least, Math.min(most, at));
        context.fillText(name, inside(x, half, this.stage.clientWidth - half), inside(y, 14, this.stage.clientHeight - 6));
      }
      context.globalAlpha = 1;
    }
  }

  addEventListener("DOMContentLoaded", () => {
    const views = new Map();
    const watcher = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting && !views.has(target)) views.set(target, new View(target));
        views.get(target)?.see?.(isIntersecting);
      }
    }, { rootMargin: "100px" });
    for (const figure of document.querySelectorAll("figure.pic-3d")) watcher.observe(figure);
  });
})();
