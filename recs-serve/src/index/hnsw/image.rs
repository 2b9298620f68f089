//! The graph as one piece of memory, the same on disk.
//!
//! All numbers little-endian; every section begins at a multiple of 64 bytes; what lies between is zero.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | `recsHNSW` |
//! | 8 | u32 version (1), u32 layers, u32 width, u32 nodes, u32 numbers of candidates given out, u32 candidates |
//! | 32 | u32 `m`, u32 `ef_construction`, u32 `ef_search`, u32 zero, u64 `seed` |
//! | 56 | f32 residual, f32 length of codes, f32 length, as [`Int8Codec`] has them |
//! | 68 | u32 CRC-32C of the vectors that the codes were made of |
//! | 72 | 16 x u32 nodes of each layer, the lowest first |
//! | 136 | u32 CRC-32C of everything from byte 192 on |
//! | 140 | u32 CRC-32C of the bytes 0 to 140 |
//! | 192 | f32 scales `[width]` |
//! | | u8 codes `[nodes, stride]`, stride = width rounded up to 32 |
//! | | for each layer u32 neighbours `[nodes of the layer, 2m or m]`, ended by 2^32 - 1 |
//! | | u32 where each node's candidates begin `[nodes + 1]` |
//! | | u32 candidates, node by node, ascending |

use super::HnswConfig;
use super::beam::MAX_NODES;
use super::parts::{MAX_LAYERS, Parts, degree, pages};
use super::space::encoded;
use super::walk::{Codes, Layer, NONE};
use crate::error::{Error, Result};
use crate::index::vectors::Vectors;
use memmap2::{Mmap, MmapMut};
use recs_core::kernel::{Int8Codec, MAX_INT8_DIM, int8_stride};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"recsHNSW";
const VERSION: u32 = 1;
const LAYERS_AT: usize = 72;
const BODY_CRC_AT: usize = 136;
const HEADER_CRC_AT: usize = 140;
const BODY_AT: usize = 192;
const ALIGNMENT: usize = 64;

/// An index that is searched: in memory, or a mapped file. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Image {
    bytes: Arc<Mmap>,
    pub(super) config: HnswConfig,
    pub(super) codec: Int8Codec,
    pub(super) candidates: usize,
    /// Candidates that are not deleted.
    pub(super) live: usize,
    pub(super) vectors_crc: u32,
    /// Ascending.
    deleted: Arc<[u32]>,
    sections: Sections,
}

/// Where everything is.
#[derive(Debug, Clone)]
struct Sections {
    in_layer: Vec<usize>,
    scales: Range<usize>,
    codes: Range<usize>,
    links: Vec<Range<usize>>,
    starts: Range<usize>,
    members: Range<usize>,
    end: usize,
}

impl Sections {
    /// None when sizes are beyond all memory.
    fn new(dim: usize, live: usize, in_layer: Vec<usize>, config: &HnswConfig) -> Option<Self> {
        let mut end = BODY_AT;
        let mut section = |count: usize, each: usize| {
            let start = end.checked_next_multiple_of(ALIGNMENT)?;
            end = start.checked_add(count.checked_mul(each)?)?;
            Some(start..end)
        };
        let nodes = *in_layer.first()?;
        let scales = section(dim, 4)?;
        let codes = section(nodes, int8_stride(dim))?;
        let mut links = Vec::with_capacity(in_layer.len());
        for (l, &nodes) in in_layer.iter().enumerate() {
            links.push(section(nodes, 4 * degree(config, l))?);
        }
        let (starts, members) = (section(nodes + 1, 4)?, section(live, 4)?);
        Some(Self { in_layer, scales, codes, links, starts, members, end })
    }
}

impl Image {
    /// Packs parts with the codes of their vectors, whose checksum is `vectors_crc`.
    ///
    /// # Errors
    /// [`Error::Index`] when there is no memory.
    pub(super) fn pack(parts: &Parts, vectors: &Vectors, vectors_crc: u32) -> Result<Self> {
        let (codec, codes) = encoded(vectors.flat(), vectors.dim(), parts.firsts())?;
        let live: usize = parts.members.iter().map(Vec::len).sum();
        let in_layer: Vec<usize> = (0..parts.links.len()).map(|l| parts.in_layer(l)).collect();
        let too_large = || Error::index("memory", "the index is larger than memory can be");
        let sections = Sections::new(codec.dim(), live, in_layer, &parts.config).ok_or_else(too_large)?;
        let mut map = pages(sections.end)?;
        let mut put = |range: &Range<usize>, bytes: &[u8]| map[range.clone()].copy_from_slice(bytes);
        put(&sections.scales, bytemuck::cast_slice(&codec.scales));
        put(&sections.codes, &codes[..sections.codes.len()]);
        for (range, links) in sections.links.iter().zip(&parts.links) {
            put(range, bytemuck::cast_slice(links));
        }
        let mut starts = vec![0u32];
        starts.extend(parts.members.iter().scan(0, |sum, of| {
            *sum += of.len() as u32;
            Some(*sum)
        }));
        put(&sections.starts, bytemuck::cast_slice(&starts));
        put(&sections.members, bytemuck::cast_slice(&parts.members.concat()));
        write_header(&mut map, parts, &codec, &sections, live, vectors_crc);
        let bytes = Arc::new(map.make_read_only().map_err(|e| Error::index("memory", e.to_string()))?);
        let deleted = deleted(&parts.members.concat(), parts.candidates);
        Ok(Self {
            bytes,
            deleted,
            config: parts.config.clone(),
            codec,
            candidates: parts.candidates,
            live,
            vectors_crc,
            sections,
        })
    }

    /// Maps a file and checks all of it; it must be of `candidates` vectors of `dim` numbers.
    ///
    /// # Errors
    /// [`Error::Index`] naming file and fault.
    pub(super) fn open(path: &Path, candidates: usize, dim: usize) -> Result<Self> {
        let refuse = |reason: String| Error::index(path.display().to_string(), reason);
        let file = std::fs::File::open(path).map_err(|e| refuse(e.to_string()))?;
        // SAFETY: published files are never written again. Whoever cuts one short while it is mapped ends the process by a
        // signal; whatever bytes are found are checked before they are followed, and again where they are.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| refuse(e.to_string()))?;
        Self::read(Arc::new(map), candidates, dim).map_err(refuse)
    }

    /// Copies and checks a file's bytes, likewise.
    ///
    /// # Errors
    /// [`Error::Index`] naming the fault.
    pub(super) fn copied(bytes: &[u8], candidates: usize, dim: usize) -> Result<Self> {
        let refuse = |reason: String| Error::index("memory", reason);
        let mut map = pages(bytes.len())?;
        map[..bytes.len()].copy_from_slice(bytes);
        let map = map.make_read_only().map_err(|e| refuse(e.to_string()))?;
        Self::read(Arc::new(map), candidates, dim).map_err(refuse)
    }

    /// # Errors
    /// What is wrong.
    fn read(bytes: Arc<Mmap>, candidates: usize, dim: usize) -> Result<Self, String> {
        if cfg!(target_endian = "big") {
            return Err("indexes are little-endian, this machine is not".into());
        }
        let header = Header::read(&bytes)?;
        if (header.candidates, header.dim) != (candidates, dim) {
            let (other, width) = (header.candidates, header.dim);
            return Err(format!(
                "it is of {other} vectors of {width} numbers, not of {candidates} of {dim}: build it again"
            ));
        }
        let sections = Sections::new(header.dim, header.live, header.in_layer, &header.config);
        let sections = sections.ok_or("its sizes are beyond all memory")?;
        if sections.end != bytes.len() {
            return Err(format!("it has {} bytes instead of {}", bytes.len(), sections.end));
        }
        let crc = crc32c::crc32c(&bytes[BODY_AT..]);
        if crc != header.body_crc {
            return Err(format!(
                "its checksum is {crc:08x} instead of {:08x}: it is damaged",
                header.body_crc
            ));
        }
        let scales = bytemuck::cast_slice(&bytes[sections.scales.clone()]).to_vec();
        let [residual, code_length, length] = header.bounds;
        let mut image = Self {
            codec: Int8Codec { scales, residual, code_length, length },
            config: header.config,
            candidates: header.candidates,
            live: header.live,
            vectors_crc: header.vectors_crc,
            deleted: Arc::default(),
            bytes,
            sections,
        };
        image.check()?;
        image.deleted = deleted(image.members(), image.candidates);
        if image.live + image.deleted.len() != image.candidates {
            return Err("a candidate stands at two nodes".into());
        }
        Ok(image)
    }

    /// A file with the right checksum may still have been made to harm.
    fn check(&self) -> Result<(), String> {
        for (l, &nodes) in self.sections.in_layer.iter().enumerate() {
            let beyond = self.layer(l).links.iter().find(|&&n| n != NONE && n as usize >= nodes);
            if let Some(node) = beyond {
                return Err(format!("layer {l} of {nodes} nodes names node {node}"));
            }
        }
        let (starts, members) = (self.starts(), self.members());
        if starts[0] != 0
            || starts.last().map(|&s| s as usize) != Some(members.len())
            || !starts.is_sorted_by(|a, b| a < b)
        {
            return Err("its nodes have no candidates, or others'".into());
        }
        match members.iter().find(|&&m| m as usize >= self.candidates) {
            Some(member) => Err(format!("it names candidate {member} of {}", self.candidates)),
            None => Ok(()),
        }
    }

    /// The file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn numbers(&self, range: &Range<usize>) -> &[u32] {
        bytemuck::cast_slice(&self.bytes[range.clone()])
    }

    pub(super) fn codes(&self) -> Codes<'_> {
        let stride = int8_stride(self.codec.dim());
        Codes { bytes: &self.bytes[self.sections.codes.clone()], stride }
    }

    pub(super) fn layers(&self) -> usize {
        self.sections.in_layer.len()
    }

    pub(super) fn layer(&self, l: usize) -> Layer<'_> {
        Layer { links: self.numbers(&self.sections.links[l]), degree: degree(&self.config, l) }
    }

    pub(super) fn nodes(&self) -> usize {
        self.sections.in_layer[0]
    }

    fn starts(&self) -> &[u32] {
        self.numbers(&self.sections.starts)
    }

    fn members(&self) -> &[u32] {
        self.numbers(&self.sections.members)
    }

    /// The candidates of every node.
    pub(super) fn candidates_of(&self) -> CandidatesOf<'_> {
        CandidatesOf { starts: self.starts(), members: self.members() }
    }

    /// True for a candidate that is not deleted. O(1) while none is, O(log) of the deleted ones otherwise.
    pub(super) fn is_live(&self, candidate: u32) -> bool {
        (candidate as usize) < self.candidates && self.deleted.binary_search(&candidate).is_err()
    }

    /// The parts, to change them.
    pub(super) fn unpack(&self) -> Parts {
        let of = self.candidates_of();
        Parts {
            config: self.config.clone(),
            candidates: self.candidates,
            links: (0..self.layers()).map(|l| self.layer(l).links.to_vec()).collect(),
            members: (0..self.nodes() as u32).map(|node| of.node(node).to_vec()).collect(),
        }
    }
}

/// Numbers that no node has, ascending.
fn deleted(members: &[u32], candidates: usize) -> Arc<[u32]> {
    let mut is_live = vec![false; candidates];
    members.iter().for_each(|&m| is_live[m as usize] = true);
    (0..candidates as u32).filter(|&c| !is_live[c as usize]).collect()
}

/// Nodes -> candidates.
#[derive(Debug, Clone, Copy)]
pub(super) struct CandidatesOf<'i> {
    starts: &'i [u32],
    members: &'i [u32],
}

impl<'i> CandidatesOf<'i> {
    #[inline]
    pub(super) fn node(&self, node: u32) -> &'i [u32] {
        &self.members[self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize]
    }
}

/// Makes the checksums fit, so that tests get past them.
#[cfg(any(test, feature = "testing"))]
pub(in crate::index) fn sign(bytes: &mut [u8]) {
    if bytes.len() < BODY_AT {
        return;
    }
    let body = crc32c::crc32c(&bytes[BODY_AT..]);
    bytes[BODY_CRC_AT..][..4].copy_from_slice(&body.to_le_bytes());
    let header = crc32c::crc32c(&bytes[..HEADER_CRC_AT]);
    bytes[HEADER_CRC_AT..][..4].copy_from_slice(&header.to_le_bytes());
}

struct Header {
    config: HnswConfig,
    dim: usize,
    candidates: usize,
    live: usize,
    in_layer: Vec<usize>,
    bounds: [f32; 3],
    vectors_crc: u32,
    body_crc: u32,
}

fn write_header(
    map: &mut MmapMut,
    parts: &Parts,
    codec: &Int8Codec,
    sections: &Sections,
    live: usize,
    vectors_crc: u32,
) {
    let body_crc = crc32c::crc32c(&map[BODY_AT..]);
    let config = &parts.config;
    let mut header = Vec::with_capacity(BODY_AT);
    header.extend_from_slice(MAGIC);
    let sizes = [sections.in_layer.len(), codec.dim(), parts.nodes(), parts.candidates, live];
    let settings = [config.m, config.ef_construction, config.ef_search, 0];
    for number in [VERSION as usize].into_iter().chain(sizes).chain(settings) {
        header.extend_from_slice(&(number as u32).to_le_bytes());
    }
    header.extend_from_slice(&config.seed.to_le_bytes());
    for bound in [codec.residual, codec.code_length, codec.length] {
        header.extend_from_slice(&bound.to_le_bytes());
    }
    header.extend_from_slice(&vectors_crc.to_le_bytes());
    for l in 0..MAX_LAYERS {
        let nodes = sections.in_layer.get(l).copied().unwrap_or(0);
        header.extend_from_slice(&(nodes as u32).to_le_bytes());
    }
    header.extend_from_slice(&body_crc.to_le_bytes());
    let crc = crc32c::crc32c(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    map[..header.len()].copy_from_slice(&header);
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < BODY_AT || &bytes[..8] != MAGIC {
            return Err("it is no index of this kind".into());
        }
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let size = |at: usize| word(at) as usize;
        if word(8) != VERSION {
            return Err(format!("it has version {}, this program reads {VERSION}: build it again", word(8)));
        }
        if crc32c::crc32c(&bytes[..HEADER_CRC_AT]) != word(HEADER_CRC_AT) {
            return Err("the checksum of its head does not fit: it is damaged".into());
        }
        let seed = u64::from(word(48)) | u64::from(word(52)) << 32;
        let config = HnswConfig { m: size(32), ef_construction: size(36), ef_search: size(40), seed };
        config.check().map_err(|e| e.to_string())?;
        let (layers, dim, nodes) = (size(12), size(16), size(20));
        if !(1..=MAX_LAYERS).contains(&layers) || !(1..=MAX_INT8_DIM).contains(&dim) || nodes > MAX_NODES {
            return Err(format!("it says {layers} layers, {dim} numbers a vector, {nodes} nodes"));
        }
        let in_layer: Vec<usize> = (0..layers).map(|l| size(LAYERS_AT + 4 * l)).collect();
        if in_layer[0] != nodes
            || !in_layer.is_sorted_by(|a, b| a >= b)
            || layers > 1 && in_layer[layers - 1] == 0
        {
            return Err(format!("its layers have {in_layer:?} nodes"));
        }
        let unused = (layers..MAX_LAYERS).map(|l| word(LAYERS_AT + 4 * l)).chain([word(44)]);
        if unused.chain((HEADER_CRC_AT + 4..BODY_AT).step_by(4).map(word)).any(|word| word != 0) {
            return Err("it has something where this version has nothing: it is damaged".into());
        }
        let bounds = [56, 60, 64].map(|at| f32::from_bits(word(at)));
        if bounds.iter().any(|b| b.is_nan() || *b < 0.0) {
            return Err(format!("its bounds are {bounds:?}"));
        }
        Ok(Self {
            config,
            dim,
            candidates: size(24),
            live: size(28),
            in_layer,
            bounds,
            vectors_crc: word(68),
            body_crc: word(BODY_CRC_AT),
        })
    }
}
