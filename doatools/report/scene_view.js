"use strict";
/* Sources on a sphere, on a flat map and over time, drawn on canvases from data that may still grow.

   Used by the page of a recording (all data at once) and by the live view (frame by frame). No library, no request.

   Azimuth and elevation in degrees: azimuth counter-clockwise from the front, (-180, 180]; elevation up. Cartesian
   axes: x front, y left, z up. Time in seconds; frame k lasts from k * frameS to (k + 1) * frameS. Optional values
   (radius, error) are NaN where there is none.

   const scene = new SceneView.Scene({frameS: 0.1, bandsHz: [...], columnS: 0.1});
   scene.append(frame, [{track, azimuth, elevation, probability, radius}], spectrum);   // Uint8Array, one per band
   const view = new SceneView.View(scene, {sphere, map, azimuth, elevation, errors, spectrogram, overview}, {onSeek});
   view.setTime(3.2); view.setRange(0, 20); view.setHidden(track, true); view.dataChanged();

   Any of the canvases may be missing. A canvas draws what is in view only; what does not move is drawn once and kept.
   A live view calls scene.forgetBefore every few seconds, which copies what it keeps. */

const SceneView = (() => {
  const COLUMNS = ["azimuth", "elevation", "probability", "radius", "error"];
  const TRAIL_S = 2;          // of the path behind a source on sphere and map
  const TILE = 2048;          // columns of the spectrogram per canvas; browsers limit the width of one
  const GUTTER = 50;          // px left of the time axes, for the values
  const FOOT = 22;            // px below the last one, for the times
  const EDGE = 10;            // px right of them, and above and below
  const NAME_ROOM = 13;       // px of width per track in view, below which lines are thin and have no names
  const NEAREST_S = 0.5;      // the shortest range of time shown
  const DEGREE = Math.PI / 180;
  const FONT = 'system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif';

  /* Twenty colours, each the farthest from those before it for normal, protanopic and deuteranopic sight (OKLab
     distance after Machado et al. 2009), with a contrast of at least 3 to the page; the same hue in both themes. */
  const LIGHT = ["#242bb6", "#b02d1f", "#4896b6", "#7a0969", "#b67f0c", "#6361b6", "#047465", "#23a372", "#70303b",
                 "#a9558c", "#005195", "#b05e1c", "#558554", "#940590", "#4e7aab", "#904e4a", "#853975", "#374db8",
                 "#8a914f", "#266006"];
  const DARK = ["#526ffb", "#f7705d", "#8bd8fb", "#bc51a6", "#fbc162", "#9ea0fa", "#59b2a2", "#74e7b2", "#af6972",
                "#ee93cd", "#4a8ed7", "#f69e61", "#93c591", "#d95ad1", "#8cbaee", "#d28a85", "#c674b3", "#6d8cfd",
                "#cbd38f", "#619d4b"];
  const LEVELS_LIGHT = ["#fbfcfd", "#fde4d3", "#fab795", "#ee7b80", "#bd3d86", "#7a2382", "#3b0f70", "#140e36"];
  const LEVELS_DARK = ["#0a0c14", "#1c1044", "#4f127b", "#812581", "#b5367a", "#e55964", "#fb8761", "#fec287",
                       "#fcfdbf"];

  // --- data -----------------------------------------------------------------------------------------------------

  /* One track or reference: its frames in order, and a value of each column for every frame. */
  class Track {
    constructor(id, name = String(id)) {
      this.id = id;
      this.name = name;
      this.length = 0;
      this.colour = 0;
      this.frame = new Int32Array(64);
      for (const column of COLUMNS) this[column] = new Float32Array(64);
    }

    /* A track of whole columns, which are not copied; columns that are not given hold NaN. */
    static of(id, name, columns) {
      const track = new Track(id, name);
      track.length = columns.frame.length;
      track.frame = columns.frame;
      for (const column of COLUMNS) track[column] = columns[column] ?? new Float32Array(track.length).fill(NaN);
      return track;
    }

    push(frame, row) {
      if (this.length === this.frame.length) this.resize(2 * this.length, 0);
      this.frame[this.length] = frame;
      for (const column of COLUMNS) this[column][this.length] = row[column] ?? NaN;
      this.length += 1;
    }

    /* Room for ``size`` frames, without the first ``dropped``. */
    resize(size, dropped) {
      for (const column of ["frame", ...COLUMNS]) {
        const kept = this[column].subarray(dropped, this.length);
        this[column] = new this[column].constructor(Math.max(size, kept.length, 64));
        this[column].set(kept);
      }
      this.length -= dropped;
    }

    get start() { return this.frame[0]; }                     // first frame
    get end() { return this.frame[this.length - 1] + 1; }     // after the last frame

    /* The index of the first frame that is not before ``frame``. */
    from(frame) {
      let low = 0, high = this.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (this.frame[middle] < frame) low = middle + 1; else high = middle;
      }
      return low;
    }

    /* The index of ``frame``, or -1 where the track was not seen. */
    at(frame) {
      const index = this.from(frame);
      return index < this.length && this.frame[index] === frame ? index : -1;
    }
  }

  /* Levels (0 to 255) of frequency bands over time, kept as canvases that are one pixel per column and band. */
  class Spectrogram {
    constructor(bandsHz, columnS) {
      this.bandsHz = bandsHz;
      this.columnS = columnS;
      this.tiles = [];        // {levels, columns, canvas}; null in place of a forgotten one
      this.table = null;      // 256 colours
    }

    /* Levels of one or several columns, column by column, lowest band first. */
    append(levels) {
      const bands = this.bandsHz.length;
      for (let done = 0; done < levels.length;) {
        let tile = this.tiles.at(-1);
        if (!tile || tile.columns === TILE) {
          tile = {levels: new Uint8Array(TILE * bands), columns: 0, canvas: null};
          this.tiles.push(tile);
        }
        const part = levels.subarray(done, done + (TILE - tile.columns) * bands);
        tile.levels.set(part, tile.columns * bands);
        if (tile.canvas) this.paint(tile, tile.columns, part.length / bands);
        tile.columns += part.length / bands;
        done += part.length;
      }
    }

    /* Of an empty one: the next column is ``column``, and what is before it is not known. */
    startAt(column) {
      this.tiles = Array(Math.floor(column / TILE)).fill(null);
      this.append(new Uint8Array(column % TILE * this.bandsHz.length));
    }

    forgetBefore(seconds) {
      const gone = Math.floor(seconds / this.columnS / TILE);
      for (let k = 0; k < Math.min(gone, this.tiles.length); k++) this.tiles[k] = null;
    }

    setColours(table) {
      this.table = table;
      for (const tile of this.tiles) if (tile) tile.canvas = null;
    }

    paint(tile, first, columns) {
      const bands = this.bandsHz.length, image = new ImageData(columns, bands);
      const pixels = new Uint32Array(image.data.buffer);
      for (let column = 0; column < columns; column++) {
        for (let band = 0; band < bands; band++) {
          pixels[(bands - 1 - band) * columns + column] = this.table[tile.levels[(first + column) * bands + band]];
        }
      }
      tile.canvas.getContext("2d").putImageData(image, first, 0);
    }

    draw(context, area, from, to) {
      const scale = area.width / (to - from);
      context.imageSmoothingEnabled = true;
      context.imageSmoothingQuality = "high";
      this.tiles.forEach((tile, k) => {
        const start = k * TILE * this.columnS;
        if (!tile || start > to || start + tile.columns * this.columnS < from) return;
        if (!tile.canvas) {
          tile.canvas = document.createElement("canvas");
          tile.canvas.width = TILE;
          tile.canvas.height = this.bandsHz.length;
          this.paint(tile, 0, tile.columns);
        }
        const first = Math.max(Math.floor((from - start) / this.columnS), 0);
        const last = Math.min(Math.ceil((to - start) / this.columnS), tile.columns);
        context.drawImage(tile.canvas, first, 0, last - first, this.bandsHz.length,
                          area.left + (start + first * this.columnS - from) * scale, area.top,
                          (last - first) * this.columnS * scale, area.height);
      });
    }
  }

  /* All that is shown. */
  class Scene {
    constructor({frameS, seconds = 0, bandsHz = [], columnS = frameS}) {
      this.frameS = frameS;
      this.seconds = seconds;
      this.firstS = 0;                       // what was before is forgotten
      this.tracks = new Map();               // id → Track
      this.references = new Map();           // the same
      this.spectrogram = new Spectrogram(bandsHz, columnS);
      this.owners = LIGHT.map(() => null);   // of each colour, the last track that was given it
    }

    /* The rows of one frame, which is not before the last one: {track, azimuth, elevation, probability, ...}. */
    append(frame, rows, spectrum = null) {
      for (const row of rows) {
        if (!this.tracks.has(row.track)) this.addTrack(new Track(row.track), frame);
        this.tracks.get(row.track).push(frame, row);
      }
      if (spectrum) this.spectrogram.append(spectrum);
      this.seconds = Math.max(this.seconds, (frame + 1) * this.frameS);
    }

    /* A track; it is given the colour that is out of use for the longest time. Add tracks in order of their start. */
    addTrack(track, start = track.start) {
      const age = owner => owner ? start - owner.end : Infinity;
      let best = 0;
      this.owners.forEach((owner, k) => { if (age(owner) > age(this.owners[best])) best = k; });
      track.colour = best;
      this.owners[best] = track;
      this.tracks.set(track.id, track);
    }

    /* Forget what ended before ``seconds``, so that a live view does not grow for ever. */
    forgetBefore(seconds) {
      this.firstS = Math.max(seconds, 0);
      const frame = Math.floor(seconds / this.frameS);
      for (const tracks of [this.tracks, this.references]) {
        for (const track of tracks.values()) {
          if (track.end <= frame) tracks.delete(track.id); else track.resize(0, track.from(frame));
        }
      }
      this.spectrogram.forgetBefore(seconds);
    }

    /* The frame at a time; players round times to microseconds, so the end of a frame belongs to the next one. */
    frameAt(seconds) {
      const last = Math.ceil(this.seconds / this.frameS - 1e-6) - 1;
      return Math.max(Math.min(Math.floor(seconds / this.frameS + 1e-3), last), 0);
    }

    /* What is there at a frame: [{track, index}]. */
    active(frame, tracks = this.tracks) {
      const found = [];
      for (const track of tracks.values()) {
        const index = track.at(frame);
        if (index >= 0) found.push({track, index});
      }
      return found;
    }
  }

  // --- geometry ---------------------------------------------------------------------------------------------------

  function unit(azimuth, elevation) {
    const flat = Math.cos(elevation * DEGREE);
    return [flat * Math.cos(azimuth * DEGREE), flat * Math.sin(azimuth * DEGREE), Math.sin(elevation * DEGREE)];
  }

  function angles([x, y, z]) {
    return [Math.atan2(y, x) / DEGREE, Math.atan2(z, Math.hypot(x, y)) / DEGREE];
  }

  function wrapped(azimuth) {
    return azimuth - 360 * Math.ceil((azimuth - 180) / 360);
  }

  /* Directions ``radius`` degrees away from a direction, all around it. */
  function circle(azimuth, elevation, radius, points = 48) {
    const centre = unit(azimuth, elevation), east = unit(azimuth + 90, 0), north = unit(azimuth, elevation + 90);
    const along = Math.cos(radius * DEGREE), across = Math.sin(radius * DEGREE);
    return Array.from({length: points}, (_, k) => {
      const turn = 2 * Math.PI * k / points, c = Math.cos(turn), s = Math.sin(turn);
      return centre.map((value, axis) => value * along + (east[axis] * c + north[axis] * s) * across);
    });
  }

  /* How far a circle reaches in azimuth on either side; 180 where it contains a pole. */
  function azimuthReach(elevation, radius) {
    if (Math.abs(elevation) + radius >= 90) return 180;
    return Math.asin(Math.min(Math.sin(radius * DEGREE) / Math.cos(elevation * DEGREE), 1)) / DEGREE;
  }

  /* The mean direction of the frames [first, last) of a track: [azimuth, elevation]. */
  function meanDirection(track, first, last) {
    const sum = [0, 0, 0];
    for (let k = first; k < last; k++) {
      unit(track.azimuth[k], track.elevation[k]).forEach((value, axis) => { sum[axis] += value; });
    }
    return angles(sum);
  }

  // --- text -------------------------------------------------------------------------------------------------------

  const minus = text => text.replace("-", "\u2212");
  const degrees = value => minus(`${Math.round(value) || 0}°`);

  /* "4.5 s" below a minute, else "1:04.5" or "1:01:04.5". */
  function clock(seconds, digits = 1, unitBelowMinute = true) {
    const rounded = Math.round(Math.max(seconds, 0) * 10 ** digits) / 10 ** digits;
    if (rounded < 60 && unitBelowMinute) return `${rounded.toFixed(digits)} s`;
    const hours = Math.floor(rounded / 3600), minutes = Math.floor(rounded / 60) % 60;
    const rest = (rounded - 60 * Math.floor(rounded / 60)).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
    return `${hours ? `${hours}:${String(minutes).padStart(2, "0")}` : minutes}:${rest}`;
  }

  /* "1.2–4.5 s", or "1:02.5–1:10.0". */
  function span(from, to) {
    return to < 59.95 ? `${from.toFixed(1)}–${to.toFixed(1)} s` : `${clock(from, 1, false)}–${clock(to, 1, false)}`;
  }

  // --- drawing ----------------------------------------------------------------------------------------------------

  /* The page's colours: custom properties of the element, and what this file has for a light or a dark page. */
  function readLook(element) {
    const style = getComputedStyle(element), value = name => style.getPropertyValue(name).trim();
    const dark = value("--theme") === "dark";
    return {dark, ink: value("--ink"), soft: value("--soft"), line: value("--line"), page: value("--card"),
            cursor: value("--accent"), reference: value("--reference"), colours: dark ? DARK : LIGHT,
            levels: colourTable(dark ? LEVELS_DARK : LEVELS_LIGHT)};
  }

  /* 256 colours between those given, as the 32-bit values of an ImageData (little-endian: ABGR). */
  function colourTable(stops) {
    const rgb = stops.map(stop => [1, 3, 5].map(k => parseInt(stop.slice(k, k + 2), 16)));
    return Uint32Array.from({length: 256}, (_, level) => {
      const place = level / 255 * (rgb.length - 1), k = Math.min(Math.floor(place), rgb.length - 2);
      const [r, g, b] = rgb[k].map((low, c) => Math.round(low + (rgb[k + 1][c] - low) * (place - k)));
      return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
    });
  }

  /* Fit a canvas to its box; the context draws in CSS pixels. null while it is not shown. */
  function prepare(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1, pixels = [Math.round(width * ratio), Math.round(height * ratio)];
    if (!pixels[0] || !pixels[1]) return null;
    if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.lineJoin = context.lineCap = "round";
    return context;
  }

  function text(context, words, x, y, colour, {align = "center", baseline = "middle", size = 11, weight = 400} = {}) {
    context.font = `${weight} ${size}px ${FONT}`;
    context.textAlign = align;
    context.textBaseline = baseline;
    context.fillStyle = colour;
    context.fillText(words, x, y);
  }

  function stroke(context, colour, width, alpha = 1) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.globalAlpha = alpha;
    context.stroke();
    context.globalAlpha = 1;
  }

  function fill(context, colour, alpha = 1) {
    context.fillStyle = colour;
    context.globalAlpha = alpha;
    context.fill();
    context.globalAlpha = 1;
  }

  function disc(context, x, y, radius) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
  }

  function path(context, points, closed = false) {
    context.beginPath();
    points.forEach(([x, y], k) => k ? context.lineTo(x, y) : context.moveTo(x, y));
    if (closed) context.closePath();
  }

  /* Names beside points, moved so that none covers another one; what finds no place is left out. */
  class Labels {
    constructor(context, area, look) {
      Object.assign(this, {context, area, look, boxes: [], busy: new Set()});
    }

    /* Something is drawn there: labels rather go elsewhere. */
    avoid(x, y) { this.busy.add(`${Math.round(x / 8)},${Math.round(y / 8)}`); }

    block(x, y, width, height) { this.boxes.push([x - width / 2, y - height / 2, x + width / 2, y + height / 2]); }

    write(words, x, y, colour, distance = 10) {
      this.context.font = `600 12px ${FONT}`;
      const width = this.context.measureText(words).width + 4, height = 14;
      let best = null, least = Infinity;
      for (const reach of [1, 1.7, 2.6]) {
        for (const [dx, dy] of [[0, -1], [1, -0.7], [-1, -0.7], [0, 1], [1, 0.7], [-1, 0.7], [1, 0], [-1, 0]]) {
          const cx = x + dx * (reach * distance + width / 2 - 4), cy = y + dy * (reach * distance + 1);
          const box = [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2];
          const cost = this.cost(box) + 2 * (reach - 1);
          if (cost < least) [best, least] = [box, cost];
        }
        if (least < 1) break;
      }
      if (!best) return false;
      this.boxes.push(best);
      const [cx, cy] = [(best[0] + best[2]) / 2, (best[1] + best[3]) / 2];
      Object.assign(this.context, {lineWidth: 4, strokeStyle: this.look.page, textAlign: "center",
                                   textBaseline: "middle"});
      this.context.strokeText(words, cx, cy + 0.5);
      text(this.context, words, cx, cy + 0.5, colour, {size: 12, weight: 600});
      return true;
    }

    cost([left, top, right, bottom]) {
      const {area} = this;
      if (left < area.left || right > area.left + area.width) return Infinity;
      if (top < area.top || bottom > area.top + area.height) return Infinity;
      if (this.boxes.some(box => left < box[2] && right > box[0] && top < box[3] && bottom > box[1])) return Infinity;
      let crossed = 0;
      for (let x = Math.round(left / 8); x <= Math.round(right / 8); x++) {
        for (let y = Math.round(top / 8); y <= Math.round(bottom / 8); y++) crossed += this.busy.has(`${x},${y}`);
      }
      return crossed;
    }
  }

  /* The trail of a source up to index, oldest first: [{azimuth, elevation, age from 0 (now) to 1}]. */
  function trail(track, index, frameS) {
    const points = [], frames = Math.round(TRAIL_S / frameS);
    for (let k = index; k >= 0 && track.frame[index] - track.frame[k] <= frames; k--) {
      if (k < index && track.frame[k + 1] - track.frame[k] > 1) break;
      points.unshift({azimuth: track.azimuth[k], elevation: track.elevation[k],
                      age: (track.frame[index] - track.frame[k]) / frames});
    }
    return points;
  }

  /* Sphere seen from outside, in parallel projection. Seen from behind, left is left, and what is ahead is far.

     turn: {yaw, pitch} of the viewer in degrees; pitch 90 looks from above. Returns nothing; draws on the context. */
  function drawSphere(context, width, height, state, turn) {
    const {look} = state, radius = Math.max(Math.min(width / 2 - 42, height / 2 - 18), 20);
    const [cy, sy] = [Math.cos(turn.yaw * DEGREE), Math.sin(turn.yaw * DEGREE)];
    const [cp, sp] = [Math.cos(turn.pitch * DEGREE), Math.sin(turn.pitch * DEGREE)];
    const project = ([x, y, z]) => {  // → [right, down, depth]; depth is positive beyond the centre
      const ahead = x * cy - y * sy, left = x * sy + y * cy;
      return [width / 2 - radius * left, height / 2 - radius * (z * cp + ahead * sp), ahead * cp - z * sp];
    };
    drawGlobe(context, width, height, radius, project, look);
    const labels = new Labels(context, {left: 0, top: 0, width, height}, look);
    for (const {track, index} of state.references) {
      const [x, y] = project(unit(track.azimuth[index], track.elevation[index]));
      disc(context, x, y, 10);
      stroke(context, look.reference, 3, 0.9);
    }
    const points = state.active.map(({track, index}) => {
      const direction = unit(track.azimuth[index], track.elevation[index]);
      return {track, index, direction, place: project(direction), colour: look.colours[track.colour]};
    }).sort((a, b) => b.place[2] - a.place[2]);  // far ones first
    for (const point of points) drawOnSphere(context, point, project, state);
    for (const {place} of points) labels.block(place[0], place[1], 22, 22);
    for (const [name, azimuth] of [["front", 0], ["left", 90], ["back", 180], ["right", -90]]) {
      const [x, y] = project(unit(azimuth, 0)), [dx, dy] = [x - width / 2, y - height / 2];
      const far = Math.hypot(dx, dy) || 1;
      const box = away => [x + dx / far * away - 15, y + dy / far * 0.7 * away - 7, x + dx / far * away + 15,
                           y + dy / far * 0.7 * away + 7];
      const free = [22, 30, -22, 38].map(box).find(one => labels.cost(one) < Infinity);
      if (!free) continue;
      text(context, name, (free[0] + free[2]) / 2, (free[1] + free[3]) / 2, look.soft);
      labels.boxes.push(free);
    }
    for (const {track, place, colour} of points) labels.write(track.name, place[0], place[1], colour, 13);
  }

  function drawGlobe(context, width, height, radius, project, look) {
    disc(context, width / 2, height / 2, radius);
    fill(context, look.ink, look.dark ? 0.05 : 0.03);
    stroke(context, look.soft, 1, 0.7);
    const round = Array.from({length: 73}, (_, k) => 5 * k - 180);
    path(context, round.map(azimuth => project(unit(azimuth, 0))), true);
    fill(context, look.ink, 0.05);
    const lines = [-60, -30, 0, 30, 60].map(elevation => round.map(azimuth => unit(azimuth, elevation)));
    for (let azimuth = 0; azimuth < 180; azimuth += 45) lines.push(round.map(angle => unit(azimuth, angle)));
    lines.forEach((line, number) => {
      for (const near of [false, true]) {  // the far side is fainter
        context.beginPath();
        let drawn = false;
        for (const direction of line) {
          const [x, y, depth] = project(direction);
          if ((depth <= 0) !== near) { drawn = false; continue; }
          if (drawn) context.lineTo(x, y); else context.moveTo(x, y);
          drawn = true;
        }
        stroke(context, look.soft, number === 2 ? 1.2 : 0.8, near ? (number === 2 ? 0.7 : 0.32) : 0.2);
      }
    });
    path(context, [[0.16, 0, 0], [-0.07, 0.08, 0], [-0.03, 0, 0], [-0.07, -0.08, 0]].map(project), true);  // the array
    fill(context, look.soft);
    path(context, [[0.2, 0, 0], [1, 0, 0]].map(project));
    stroke(context, look.soft, 1, 0.4);
  }

  function drawOnSphere(context, {track, index, direction, place, colour}, project, {look, frameS}) {
    if (track.radius[index] > 0) {
      const around = circle(track.azimuth[index], track.elevation[index], Math.min(track.radius[index], 89));
      path(context, around.map(project), true);
      fill(context, colour, 0.16);
      stroke(context, colour, 1, 0.5);
    }
    path(context, [project([0, 0, 0]), place]);
    stroke(context, colour, 1.5, 0.55);
    context.setLineDash([2, 4]);  // plumb line to the horizontal plane
    path(context, [place, project([direction[0], direction[1], 0])]);
    stroke(context, colour, 1.2, 0.6);
    context.setLineDash([]);
    let last = null;
    for (const {azimuth, elevation, age} of trail(track, index, frameS)) {
      const next = project(unit(azimuth, elevation));
      if (last) {
        path(context, [last, next]);
        stroke(context, colour, 4, 0.5 * (1 - age));
      }
      last = next;
    }
    disc(context, place[0], place[1], 6 - place[2]);
    fill(context, colour);
    stroke(context, look.page, 1.5);
  }

  /* Flat map, seen from the array: left (+180 to 0) on the left, elevation up. */
  function drawMap(context, width, height, state) {
    const {look} = state, area = {left: 40, top: 22, width: width - 40 - EDGE - 4, height: height - 22 - 20};
    const x = azimuth => area.left + (180 - azimuth) / 360 * area.width;
    const y = elevation => area.top + (90 - elevation) / 180 * area.height;
    for (let azimuth = -180; azimuth <= 180; azimuth += 45) {
      path(context, [[x(azimuth), area.top], [x(azimuth), area.top + area.height]]);
      stroke(context, azimuth ? look.line : look.soft, 1, azimuth ? 1 : 0.6);
      if (azimuth % 90) continue;
      const end = azimuth === -180;  // of the map: the name stays inside
      text(context, degrees(azimuth), x(azimuth) + (end ? 8 : 0), area.top + area.height + 11, look.soft,
           {align: end ? "right" : "center"});
    }
    for (let elevation = -90; elevation <= 90; elevation += 30) {
      path(context, [[area.left, y(elevation)], [area.left + area.width, y(elevation)]]);
      stroke(context, elevation ? look.line : look.soft, 1, elevation ? 1 : 0.6);
      if (elevation % 90 === 0 || area.height >= 90) {
        text(context, degrees(elevation), area.left - 5, y(elevation), look.soft, {align: "right"});
      }
    }
    for (const [name, azimuth] of [["back", 172], ["left", 90], ["front", 0], ["right", -90], ["back", -172]]) {
      text(context, name, x(azimuth), area.top - 10, look.soft);
    }
    context.save();
    context.beginPath();
    context.rect(area.left - 8, area.top - 8, area.width + 16, area.height + 16);
    context.clip();
    for (const {track, index} of state.references) {
      disc(context, x(track.azimuth[index]), y(track.elevation[index]), 10);
      stroke(context, look.reference, 3, 0.9);
    }
    const labels = new Labels(context, {left: 0, top: 0, width, height}, look), places = [];
    for (const {track, index} of state.active) {
      const colour = look.colours[track.colour], azimuth = track.azimuth[index], elevation = track.elevation[index];
      const radius = track.radius[index];
      if (radius > 0) drawCircleOnMap(context, area, x, y, azimuth, elevation, radius, colour);
      let last = null;
      for (const point of trail(track, index, state.frameS)) {
        const jump = last && Math.abs(point.azimuth - last.azimuth) > 180;
        if (last && !jump) {
          path(context, [[x(last.azimuth), y(last.elevation)], [x(point.azimuth), y(point.elevation)]]);
          stroke(context, colour, 4, 0.5 * (1 - point.age));
        }
        last = point;
      }
      places.push([track.name, x(azimuth), y(elevation), colour]);
    }
    for (const [, px, py, colour] of places) {
      disc(context, px, py, 6.5);
      fill(context, colour);
      stroke(context, look.page, 1.5);
      labels.block(px, py, 12, 12);
    }
    context.restore();
    for (const [name, px, py, colour] of places) labels.write(name, px, py, colour, 13);
  }

  function drawCircleOnMap(context, area, x, y, azimuth, elevation, radius, colour) {
    radius = Math.min(radius, 89);
    const points = circle(azimuth, elevation, radius).map(direction => {
      const [a, e] = angles(direction);
      return [wrapped(a - azimuth), e];
    });
    if (Math.abs(elevation) + radius >= 90) {  // all around a pole: an area up to the map's edge
      const pole = elevation > 0 ? 90 : -90;
      points.sort((a, b) => a[0] - b[0]);
      points.unshift([-180, pole], [-180, points[0][1]]);
      points.push([180, points.at(-1)[1]], [180, pole]);
    }
    context.save();
    context.beginPath();
    context.rect(area.left, area.top, area.width, area.height);
    context.clip();
    for (const turn of [-360, 0, 360]) {
      path(context, points.map(([a, e]) => [x(azimuth + a + turn), y(e)]), true);
      fill(context, colour, 0.16);
      stroke(context, colour, 1, 0.5);
    }
    context.restore();
  }

  // --- over time --------------------------------------------------------------------------------------------------

  /* The vertical axes: where a value is from 0 (top) to 1 (bottom), and the ticks. */
  const AXES = {
    azimuth: {place: value => (180 - value) / 360, ticks: [180, 90, 0, -90, -180], minor: [135, 45, -45, -135],
              wraps: true},
    elevation: {place: value => (90 - value) / 180, ticks: [90, 45, 0, -45, -90], minor: [], wraps: false},
    // square root, so that both 2° and 120° can be read; above it a row each for what has no partner
    errors: {place: value => 1 - 0.66 * Math.sqrt(value / 180), ticks: [0, 5, 20, 60, 180], minor: [], wraps: false,
             rows: {extra: 0.2, missed: 0.06}},
  };
  const FREQUENCIES_HZ = [1000, 4000, 250, 2000, 8000, 500, 16000, 125];  // the first ones are named first

  function timeStep(range, width, room = 72) {
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
    return steps.find(step => step * width / range >= room) ?? 14400;
  }

  function drawTimeGrid(context, area, state, named) {
    const step = timeStep(state.to - state.from, area.width), {look} = state;
    for (let k = Math.ceil(state.from / step - 1e-9); k * step <= state.to + 1e-9; k++) {
      const x = area.left + (k * step - state.from) / (state.to - state.from) * area.width;
      path(context, [[x, area.top], [x, area.top + area.height]]);
      stroke(context, look.line, 1, named ? 0.25 : 0.8);
      const align = x > area.left + area.width - 14 ? "right" : "center";
      if (named) {
        const name = clock(k * step, step < 1 ? 1 : 0, state.to <= 60);
        const place = align === "right" ? area.left + area.width + 4 : x;
        text(context, name, place, area.top + area.height + 12, look.soft, {align});
      }
    }
  }

  /* The pieces of the frames [first, last) of a track in which a value runs on without a gap: lists of [index, turn].

     Where an azimuth passes ±180° a piece goes on for one frame beyond the edge (turn ±360), and the next one begins
     one before it. Frames nearer than ``stride`` to the one before are left out, except at the ends. */
  function* pieces(track, values, first, last, wraps, stride) {
    let piece = [], kept = 0;
    const keep = k => {
      piece.push([k, 0]);
      kept = track.frame[k];
    };
    for (let k = first; k < last; k++) {
      if (Number.isNaN(values[k])) continue;
      const next = k + 1 < last && track.frame[k + 1] - track.frame[k] === 1 && !Number.isNaN(values[k + 1]);
      const step = next ? values[k + 1] - values[k] : 0, crosses = wraps && Math.abs(step) > 180;
      if (!piece.length || !next || crosses || track.frame[k] - kept >= stride) keep(k);
      if (next && !crosses) continue;
      const turn = step > 0 ? -360 : 360;
      if (crosses) piece.push([k + 1, turn]);
      yield piece;
      piece = crosses ? [[k, -turn]] : [];
    }
  }

  /* Tracks and references over time: one vertical axis of AXES. */
  function drawOverTime(context, area, state, kind) {
    const axis = AXES[kind], {look, scene} = state, x = seconds => area.left + (seconds - state.from) * area.scale;
    const y = value => area.top + axis.place(value) * area.height;
    drawTimeGrid(context, area, state, false);
    for (const tick of [...axis.ticks, ...axis.minor]) {
      const named = axis.ticks.includes(tick);
      path(context, [[area.left, y(tick)], [area.left + area.width, y(tick)]]);
      stroke(context, named && tick === 0 ? look.soft : look.line, 1, named ? 0.8 : 0.4);
      if (named) text(context, degrees(tick), area.left - 6, y(tick), look.soft, {align: "right"});
    }
    for (const [name, place] of Object.entries(axis.rows ?? {})) {
      text(context, name, area.left - 6, area.top + place * area.height, look.soft, {align: "right"});
    }
    context.save();
    context.beginPath();
    context.rect(area.left, area.top - 3, area.width, area.height + 6);
    context.clip();
    const labels = new Labels(context, {...area, top: area.top - 3, height: area.height + 6}, look);
    const tracks = [...state.visible()], crowded = tracks.length > area.width / NAME_ROOM;
    const seen = {x, y, axis, kind, labels: crowded ? null : labels, width: crowded ? 1.2 : 2.2,
                  stride: Math.floor(0.7 / (area.scale * scene.frameS))};
    if (kind === "errors") drawUnpaired(context, area, state, seen);
    else for (const track of state.allReferences()) drawCourse(context, track, state, seen, look.reference, true);
    const shown = [];
    for (const track of tracks) {
      const colour = look.colours[track.colour];
      if (kind !== "errors") drawBand(context, track, state, seen, colour);
      const begins = drawCourse(context, track, state, seen, colour, false);
      if (begins) shown.push([track, begins, colour]);
    }
    shown.sort((a, b) => b[0].length - a[0].length);  // long tracks are named first where there is no room for all
    for (const [track, [left, top], colour] of crowded ? [] : shown) {
      labels.write(track.name, Math.max(left, area.left + 6), top, colour, 9);
    }
    context.restore();
  }

  /* The indices of a track's frames in view, with one more on either side. */
  function inView(track, state) {
    const frameS = state.scene.frameS;
    return [Math.max(track.from(Math.floor(state.from / frameS)) - 1, 0),
            Math.min(track.from(Math.ceil(state.to / frameS)) + 1, track.length)];
  }

  /* The line of one track; where it begins in view: [x, y], or null. */
  function drawCourse(context, track, state, {x, y, axis, kind, labels, width, stride}, colour, broad) {
    const [first, last] = inView(track, state), frameS = state.scene.frameS;
    const values = track[kind === "errors" ? "error" : kind], strong = state.highlight === track.id && !broad;
    let begins = null;
    context.beginPath();
    for (const piece of pieces(track, values, first, last, axis.wraps, stride)) {
      piece.forEach(([k, turn], number) => {
        const py = y(values[k] + turn), px = x((track.frame[k] + 0.5) * frameS);
        if (number === 0 && !turn) context.moveTo(x(track.frame[k] * frameS), py);
        if (number === 0 && turn) context.moveTo(px, py); else context.lineTo(px, py);
        if (number === piece.length - 1 && !turn) context.lineTo(x((track.frame[k] + 1) * frameS), py);
        if (!turn && px >= x(state.from) && px <= x(state.to)) {
          begins ??= [px, py];
          if (!broad) labels?.avoid(px, py);
        }
      });
    }
    context.lineCap = "butt";
    if (broad) stroke(context, colour, 3.6 * width, 0.38);
    else stroke(context, colour, strong ? 2 * width : width, strong || state.highlight === null ? 1 : 0.45);
    context.lineCap = "round";
    return begins;
  }

  /* The error radius of one track as a band around its line. */
  function drawBand(context, track, state, {x, y, axis, kind, stride}, colour) {
    const [first, last] = inView(track, state), frameS = state.scene.frameS, values = track[kind];
    const reach = k => kind === "azimuth" ? azimuthReach(track.elevation[k], track.radius[k]) : track.radius[k];
    for (const piece of pieces(track, values, first, last, axis.wraps, stride)) {
      if (!(track.radius[piece[0][0]] > 0)) continue;
      for (const shift of axis.wraps ? [-360, 0, 360] : [0]) {
        const edge = side => piece.map(([k, turn]) => [x((track.frame[k] + 0.5) * frameS),
                                                       y(values[k] + turn + shift + side * (reach(k) || 0))]);
        path(context, [...edge(1), ...edge(-1).reverse()], true);
        fill(context, colour, 0.18);
      }
    }
  }

  /* Predictions without a reference and references without a prediction, in the rows above the errors. */
  function drawUnpaired(context, area, state, {x, axis}) {
    const {look, scene} = state, least = 1.5;
    const tick = (track, row, colour) => {
      const [first, last] = inView(track, state), top = area.top + axis.rows[row] * area.height - 3;
      context.fillStyle = colour;
      for (let k = first; k < last; k++) {
        if (!Number.isNaN(track.error[k])) continue;
        context.fillRect(x(track.frame[k] * scene.frameS), top, Math.max(area.scale * scene.frameS, least), 6);
      }
    };
    for (const track of state.allReferences()) tick(track, "missed", look.reference);
    for (const track of state.visible()) tick(track, "extra", look.colours[track.colour]);
  }

  function drawSpectrogram(context, area, state) {
    const {look, scene} = state, bands = scene.spectrogram.bandsHz;
    context.fillStyle = look.dark ? LEVELS_DARK[0] : LEVELS_LIGHT[0];
    context.fillRect(area.left, area.top, area.width, area.height);
    context.save();
    context.beginPath();
    context.rect(area.left, area.top, area.width, area.height);
    context.clip();
    scene.spectrogram.draw(context, area, state.from, state.to);
    context.restore();
    drawTimeGrid(context, area, state, true);
    const named = [];
    for (const hertz of FREQUENCIES_HZ) {
      const next = bands.findIndex(band => band >= hertz);
      if (next < 0 || (next === 0 && bands[0] > hertz)) continue;
      const place = next === 0 ? 0.5 : next - 0.5 + (hertz - bands[next - 1]) / (bands[next] - bands[next - 1]);
      const y = area.top + area.height * (1 - place / bands.length);
      if (named.some(other => Math.abs(other - y) < 13)) continue;  // no room for one more name
      named.push(y);
      text(context, String(hertz / 1000), area.left - 6, y, look.soft, {align: "right"});
      path(context, [[area.left - 3, y], [area.left, y]]);
      stroke(context, look.soft, 1);
    }
  }

  /* The whole recording, small: azimuth over time, with the range in view. */
  function drawOverview(context, area, state) {
    const {look, scene} = state, whole = Object.assign(Object.create(state), {from: scene.firstS, to: scene.seconds});
    whole.highlight = null;
    const tracks = [...state.visible(whole)];
    const x = seconds => area.left + (seconds - whole.from) * area.scale;
    const seen = {x, y: value => area.top + 3 + AXES.azimuth.place(value) * (area.height - 6), axis: AXES.azimuth,
                  kind: "azimuth", labels: null, width: tracks.length > area.width / NAME_ROOM ? 1 : 2,
                  stride: Math.floor(0.7 / (area.scale * scene.frameS))};
    for (const track of tracks) drawCourse(context, track, whole, seen, look.colours[track.colour], false);
    context.fillStyle = look.page;
    context.globalAlpha = 0.62;
    context.fillRect(area.left, area.top, x(state.from) - area.left, area.height);
    context.fillRect(x(state.to), area.top, area.left + area.width - x(state.to), area.height);
    context.globalAlpha = 1;
    context.beginPath();
    const width = Math.max(x(state.to) - x(state.from) - 1, 3);
    context.roundRect(x(state.from) + 0.5, area.top + 0.5, width, area.height - 1, 4);
    stroke(context, look.soft, 1, 0.8);
  }

  // --- the view ---------------------------------------------------------------------------------------------------

  class View {
    /* scene: Scene; canvases: {sphere, map, azimuth, elevation, errors, spectrogram, overview}, any of them missing.

       onSeek(seconds): the user points at a time; onRange(from, to): the range in view has changed. */
    constructor(scene, canvases, {onSeek = () => {}, onRange = () => {}} = {}) {
      Object.assign(this, {scene, canvases, onSeek, onRange});
      this.time = 0;
      this.hover = null;
      this.hidden = new Set();
      this.highlight = null;
      this.levels = [0, 255];  // that have the first and the last colour
      this.turn = {yaw: -28, pitch: 24};
      [this.from, this.to] = [0, Math.max(scene.seconds, NEAREST_S)];
      this.kept = new Map();   // panel → canvas of all that does not move
      this.waiting = false;
      this.readTheme();
      for (const name of ["azimuth", "elevation", "errors", "spectrogram"]) {
        if (canvases[name]) this.timeGestures(canvases[name]);
      }
      if (canvases.overview) this.overviewGestures(canvases.overview);
      if (canvases.sphere) this.sphereGestures(canvases.sphere);
      const observer = new ResizeObserver(() => this.refresh());
      for (const canvas of Object.values(canvases)) observer.observe(canvas);
    }

    // --- what is shown

    setTime(seconds) { this.time = seconds; this.draw(); }
    setTurn(yaw, pitch) { this.turn = {yaw, pitch}; this.draw(); }
    setHighlight(id) { if (this.highlight !== id) { this.highlight = id; this.refresh(); } }
    dataChanged() { this.refresh(); }

    setHidden(id, hidden) {
      if (hidden) this.hidden.add(id); else this.hidden.delete(id);
      this.refresh();
    }

    /* Show [from, to] seconds, moved and shortened to what there is. */
    setRange(from, to) {
      const {firstS} = this.scene, end = Math.max(this.scene.seconds, firstS + NEAREST_S);
      const range = Math.min(Math.max(to - from, Math.min(NEAREST_S, end - firstS)), end - firstS);
      from = Math.min(Math.max(from + (to - from - range) / 2, firstS), end - range);
      if (from === this.from && from + range === this.to) return;
      [this.from, this.to] = [from, from + range];
      this.refresh();
      this.onRange(this.from, this.to);
    }

    /* Show a range ``factor`` times as long, with the same place for the time ``around``. */
    zoom(factor, around = this.time >= this.from && this.time <= this.to ? this.time : (this.from + this.to) / 2) {
      const range = (this.to - this.from) * factor, share = (around - this.from) / (this.to - this.from);
      const kept = Math.max(range, NEAREST_S);
      this.setRange(around - share * kept, around + (1 - share) * kept);
    }

    showAll() { this.setRange(this.scene.firstS, this.scene.seconds); }

    /* Move the range so that the time is in view: on by a page while playing, else around it. */
    follow(seconds, playing) {
      if (seconds >= this.from && seconds <= this.to) return;
      const range = this.to - this.from, next = playing && seconds > this.to && seconds < this.to + 1;
      const from = next ? seconds - 0.02 * range : seconds - 0.5 * range;
      this.setRange(from, from + range);
    }

    readTheme() {
      this.look = readLook(document.documentElement);
      this.setLevels(...this.levels);
    }

    /* The levels that have the first and the last colour. */
    setLevels(low, high) {
      this.levels = [low, high];
      const share = level => Math.min(Math.max((level - low) / Math.max(high - low, 1), 0), 1);
      const table = this.look.levels.map((_, level) => this.look.levels[Math.round(255 * share(level))]);
      this.scene.spectrogram.setColours(table);
      this.refresh();
    }

    /* The tracks in view that are not hidden; the highlighted one last, above all others. */
    *visible(range = this) {
      const [first, last] = [range.from / this.scene.frameS, range.to / this.scene.frameS];
      const shown = track => !this.hidden.has(track.id) && track.end >= first && track.start <= last;
      for (const track of this.scene.tracks.values()) if (track.id !== this.highlight && shown(track)) yield track;
      const top = this.scene.tracks.get(this.highlight);
      if (top && shown(top)) yield top;
    }

    *allReferences() {
      const [first, last] = [this.from / this.scene.frameS, this.to / this.scene.frameS];
      for (const track of this.scene.references.values()) if (track.end >= first && track.start <= last) yield track;
    }

    // --- drawing

    /* All that is kept is out of date. */
    refresh() { this.kept.clear(); this.draw(); }

    /* Draw before the next picture of the screen, once however often it is asked for. */
    draw() {
      if (this.waiting) return;
      this.waiting = true;
      requestAnimationFrame(() => { this.waiting = false; this.drawNow(); });
    }

    drawNow() {
      const {scene, canvases, look} = this, frame = scene.frameAt(this.time);
      const state = {look, frameS: scene.frameS, references: scene.active(frame, scene.references),
                     active: scene.active(frame).filter(({track}) => !this.hidden.has(track.id))};
      for (const [name, canvas] of Object.entries(canvases)) {
        const width = canvas.clientWidth, height = canvas.clientHeight, context = prepare(canvas, width, height);
        if (!context) continue;
        if (name === "sphere") drawSphere(context, width, height, state, this.turn);
        else if (name === "map") drawMap(context, width, height, state);
        else this.drawTimed(context, name, width, height, state.active);
      }
    }

    /* Where a canvas of the time axes is drawn on, and px per second there. */
    area(name, width, height) {
      if (name === "overview") {
        return {left: 0, top: 0, width, height, scale: width / Math.max(this.scene.seconds - this.scene.firstS, 1e-3)};
      }
      const foot = name === "spectrogram" ? FOOT : EDGE - 2;
      const area = {left: GUTTER, top: EDGE - 2, width: width - GUTTER - EDGE};
      return {...area, height: height - area.top - foot, scale: area.width / (this.to - this.from)};
    }

    drawTimed(context, name, width, height, active) {
      const area = this.area(name, width, height);
      if (!this.kept.has(name)) {
        const canvas = document.createElement("canvas"), still = prepare(canvas, width, height);
        if (name === "spectrogram") drawSpectrogram(still, area, this);
        else if (name === "overview") drawOverview(still, area, this);
        else drawOverTime(still, area, this, name);
        this.kept.set(name, canvas);
      }
      context.drawImage(this.kept.get(name), 0, 0, width, height);
      if (name === "overview") {
        this.drawCursor(context, area, area.left + (this.time - this.scene.firstS) * area.scale, 2);
        return;
      }
      const [hover, x] = [this.hover, this.time].map(seconds => area.left + (seconds - this.from) * area.scale);
      if (this.hover !== null) this.drawCursor(context, area, hover, 1, 0.45);
      if (x < area.left - 1 || x > area.left + area.width + 1) return;
      this.drawCursor(context, area, x, 2);
      const axis = AXES[name];
      if (!axis) return;
      for (const {track, index} of active) {
        const value = track[name === "errors" ? "error" : name][index];
        if (Number.isNaN(value)) continue;
        disc(context, x, area.top + axis.place(value) * area.height, 5);
        fill(context, this.look.colours[track.colour]);
        stroke(context, this.look.page, 1.5);
      }
    }

    drawCursor(context, area, x, width, alpha = 1) {
      x = Math.min(Math.max(x, area.left + width / 2), area.left + area.width - width / 2);
      path(context, [[x, area.top - 2], [x, area.top + area.height + 2]]);
      stroke(context, this.look.page, width + 2, 0.6 * alpha);  // so that it is seen on any level of the spectrogram
      stroke(context, this.look.cursor, width, alpha);
    }

    // --- gestures

    timeAt(canvas, event) {
      const box = canvas.getBoundingClientRect(), width = box.width - GUTTER - EDGE;
      return this.from + Math.min(Math.max((event.clientX - box.left - GUTTER) / width, 0), 1) * (this.to - this.from);
    }

    /* Drag to seek, pinch or turn the wheel to zoom, wheel sideways to move. A finger that goes up or down scrolls. */
    timeGestures(canvas) {
      const fingers = new Map();  // pointerId → clientX
      let seeking = false, begun = null, pinch = null;
      const seek = event => this.onSeek(this.timeAt(canvas, event));
      canvas.addEventListener("pointerdown", event => {
        if (event.button) return;
        fingers.set(event.pointerId, event.clientX);
        canvas.setPointerCapture(event.pointerId);
        begun = event.clientX;
        seeking = event.pointerType === "mouse";
        if (seeking) seek(event);
        if (fingers.size === 2) {
          seeking = false;
          pinch = [...fingers.values()].map(clientX => this.timeAt(canvas, {clientX}));
        }
      });
      canvas.addEventListener("pointermove", event => {
        if (event.pointerType === "mouse") this.setHover(this.timeAt(canvas, event));
        if (!fingers.has(event.pointerId)) return;
        fingers.set(event.pointerId, event.clientX);
        if (pinch) return this.pinch(canvas, pinch, [...fingers.values()]);
        seeking ||= Math.abs(event.clientX - begun) > 6;
        if (seeking) seek(event);
      });
      const done = event => {
        const tapped = event.type === "pointerup" && fingers.has(event.pointerId) && !pinch && !seeking;
        fingers.delete(event.pointerId);
        if (tapped) seek(event);
        if (!fingers.size) [seeking, pinch] = [false, null];
      };
      canvas.addEventListener("pointerup", done);
      canvas.addEventListener("pointercancel", done);
      canvas.addEventListener("pointerleave", () => this.setHover(null));
      canvas.addEventListener("wheel", event => this.wheel(canvas, event), {passive: false});
    }

    setHover(seconds) {
      this.hover = seconds;
      this.draw();
    }

    /* Two fingers hold the two times they were put on. */
    pinch(canvas, [left, right], places) {
      if (places.length < 2 || Math.abs(places[1] - places[0]) < 10 || left === right) return;
      const box = canvas.getBoundingClientRect(), width = box.width - GUTTER - EDGE;
      const perPx = (right - left) / (places[1] - places[0]);
      if (perPx <= 0) return;
      const from = left - (places[0] - box.left - GUTTER) * perPx;
      this.setRange(from, from + perPx * width);
    }

    /* Up zooms in; down zooms out until all is in view, and then scrolls the page. */
    wheel(canvas, event) {
      const now = performance.now(), range = this.to - this.from;
      const lines = event.deltaMode ? 30 : 1, dx = event.deltaX * lines, dy = event.deltaY * lines;
      if (Math.abs(dx) > Math.abs(dy) || event.shiftKey) {
        event.preventDefault();
        const moved = (Math.abs(dx) > Math.abs(dy) ? dx : dy) / canvas.clientWidth * range;
        return this.setRange(this.from + moved, this.to + moved);
      }
      const all = range >= this.scene.seconds - this.scene.firstS - 1e-6;
      const scrolls = all && dy > 0 || now - View.scrolled < 250;  // a scroll that began elsewhere goes on
      if (scrolls && !event.ctrlKey) return;
      event.preventDefault();
      const factor = Math.exp(Math.max(Math.min(dy, 120), -120) * (event.ctrlKey ? 0.01 : 0.0025));
      this.zoom(factor, this.timeAt(canvas, event));
    }

    overviewGestures(canvas) {
      const seek = event => {
        const box = canvas.getBoundingClientRect();
        const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
        this.onSeek(this.scene.firstS + share * (this.scene.seconds - this.scene.firstS));
      };
      canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); seek(event); });
      canvas.addEventListener("pointermove", event => { if (canvas.hasPointerCapture(event.pointerId)) seek(event); });
    }

    sphereGestures(canvas) {
      let last = null;
      canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); last = event; });
      canvas.addEventListener("pointermove", event => {
        if (!canvas.hasPointerCapture(event.pointerId) || !last) return;
        const pitch = this.turn.pitch + (event.clientY - last.clientY) * 0.5;
        this.setTurn(this.turn.yaw + (event.clientX - last.clientX) * 0.5, Math.min(Math.max(pitch, -90), 90));
        last = event;
      });
      for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, () => { last = null; });
    }
  }

  View.scrolled = -Infinity;  // when the page last scrolled
  document.addEventListener("scroll", () => { View.scrolled = performance.now(); }, {passive: true, capture: true});

  return {Scene, Track, View, unit, meanDirection, clock, span, degrees};
})();
