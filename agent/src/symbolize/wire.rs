//! Bytes of the packets between the agent and its worker in; typed requests and answers out, and back.
//!
//! One packet is one message of a `SOCK_SEQPACKET` socket: version, kind, body; integers little-endian. The agent trusts
//! nothing that the worker says: every length is checked against a cap, and a malformed packet costs the worker its life.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// Both sides are the same executable file, so this only guards against a stranger at the other end.
pub const VERSION: u8 = 1;
/// Longest packet in either direction.
pub const MAX_PACKET: usize = 64 * 1024;
/// Addresses in one request.
pub const MAX_ADDRESSES: usize = 4096;
/// Bytes kept of a function's or a source file's name.
pub const MAX_NAME: usize = 4096;
/// Functions at one address: 64 inlined ones and the one that they are inlined into.
pub const MAX_FUNCTIONS: usize = 65;
/// Loadable segments of one file.
pub const MAX_SEGMENTS: usize = 256;
/// Bytes of a build id, before they are written in hex.
pub const MAX_BUILD_ID: usize = 128;

/// Why a packet is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed packet: {0}")]
pub struct Malformed(pub &'static str);

/// What the agent asks. `File` and `Kernel` come with a file descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The first packet: how to confine itself.
    Hello(Hello),
    /// Read the kernel's symbols from the descriptor, an open `/proc/kallsyms`.
    Kernel,
    /// Name these absolute kernel addresses.
    KernelAddresses(Vec<u64>),
    /// Describe the file and name these offsets in it.
    File { id: u32, detail: Detail, offsets: Vec<u64> },
    /// Make the unwind table of the file.
    Table,
}

/// How the worker shall confine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Whom to become when started as root.
    pub uid: u32,
    /// The group of `uid`.
    pub gid: u32,
    /// Resident memory above which parsed files are dropped, oldest first.
    pub resident_bytes: u64,
    /// Heap above which allocations fail.
    pub heap_bytes: u64,
    /// Debug sections larger than this are left alone: the file's symbols are used.
    pub debug_bytes: u64,
}

/// How deep to look into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Symbol tables only.
    Symbols = 0,
    /// Lines and inlined functions too.
    Debug = 1,
}

/// What the worker answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is confined and listens. `unprivileged` is false where it had to stay root (without capabilities).
    Ready { unprivileged: bool, filtered: bool },
    /// It could not confine itself and is gone.
    Refused { why: String },
    /// The kernel's symbols are loaded.
    KernelLoaded(KernelText),
    /// The file of the request in hand.
    Description(Result<Description, NoDescription>),
    /// The next addresses of the request in hand, in its order.
    Symbols(Vec<Lookup>),
    /// The next bytes of the unwind table, as it encodes itself.
    TablePart(Vec<u8>),
    /// There is no unwind table: the number of a [`crate::unwind::NoTable`].
    NoTable(u8),
    /// The request in hand is answered.
    Done,
}

/// What of the kernel has names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelText {
    /// Symbols of code; 0 when the kernel hides its addresses.
    pub n_symbols: u32,
    /// First address of the core kernel's code: `_stext`.
    pub start: u64,
    /// End of the core kernel's code: `_etext`. What lies outside belongs to modules and BPF programs, which come and go.
    pub end: u64,
}

/// What a file says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// GNU build id, else Go's; empty when there is none.
    pub build_id: Vec<u8>,
    /// Loadable segments in the file's order.
    pub segments: Vec<Segment>,
}

impl Description {
    /// The virtual address of a file offset, as addr2line takes it.
    pub fn virtual_address(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let into = offset.checked_sub(segment.offset)?;
            (into < segment.file_size).then(|| segment.address.wrapping_add(into))
        })
    }
}

/// A loadable segment: `file_size` bytes at `offset` of the file are loaded at `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub address: u64,
    pub file_size: u64,
}

/// Why a file was not looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDescription {
    /// It cannot be read.
    Unreadable = 1,
    /// It is no ELF file, or its headers do not fit together.
    Malformed = 2,
    /// It is larger than the cap.
    TooLarge = 3,
}

/// What an address is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// No symbol covers the address.
    Unknown,
    /// The file has no symbols, or none that could be read.
    NoSymbols,
    /// The kernel hides its addresses.
    Hidden,
    /// Innermost first; never empty.
    Functions(Vec<FunctionBytes>),
}

/// A function as the file spells it: any bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionBytes {
    /// Demangled; never empty.
    pub name: Vec<u8>,
    /// Path of the source file; empty when unknown.
    pub file: Vec<u8>,
    /// Line in it; 0 when unknown.
    pub line: u32,
}

impl Request {
    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(Hello { uid, gid, resident_bytes, heap_bytes, debug_bytes }) => {
                let mut out = packet(1);
                put_u32(&mut out, *uid);
                put_u32(&mut out, *gid);
                put_u64(&mut out, *resident_bytes);
                put_u64(&mut out, *heap_bytes);
                put_u64(&mut out, *debug_bytes);
                out
            }
            Self::Kernel => packet(2),
            Self::KernelAddresses(addresses) => {
                let mut out = packet(3);
                put_addresses(&mut out, addresses);
                out
            }
            Self::File { id, detail, offsets } => {
                let mut out = packet(4);
                put_u32(&mut out, *id);
                out.push(*detail as u8);
                put_addresses(&mut out, offsets);
                out
            }
            Self::Table => packet(9),
        }
    }

    /// The request in a packet.
    pub fn decode(packet: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { rest: packet };
        let request = match reader.kind()? {
            1 => Self::Hello(Hello {
                uid: reader.u32()?,
                gid: reader.u32()?,
                resident_bytes: reader.u64()?,
                heap_bytes: reader.u64()?,
                debug_bytes: reader.u64()?,
            }),
            2 => Self::Kernel,
            3 => Self::KernelAddresses(reader.addresses()?),
            4 => Self::File {
                id: reader.u32()?,
                detail: if reader.u8()? == 0 { Detail::Symbols } else { Detail::Debug },
                offsets: reader.addresses()?,
            },
            9 => Self::Table,
            _ => return Err(Malformed("unknown kind of request")),
        };
        reader.end()?;
        Ok(request)
    }
}

impl Answer {
    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ready { unprivileged, filtered } => {
                let mut out = packet(1);
                out.extend([u8::from(*unprivileged), u8::from(*filtered)]);
                out
            }
            Self::Refused { why } => {
                let mut out = packet(2);
                put_bytes(&mut out, why.as_bytes());
                out
            }
            Self::KernelLoaded(text) => {
                let mut out = packet(3);
                put_u32(&mut out, text.n_symbols);
                put_u64(&mut out, text.start);
                put_u64(&mut out, text.end);
                out
            }
            Self::Description(Err(why)) => {
                let mut out = packet(4);
                out.push(*why as u8);
                out
            }
            Self::Description(Ok(description)) => {
                let mut out = packet(4);
                out.push(0);
                put_description(&mut out, description);
                out
            }
            Self::Symbols(lookups) => {
                let mut out = symbols_packet();
                for lookup in lookups {
                    put_lookup(&mut out, lookup);
                }
                out
            }
            Self::Done => packet(6),
            Self::TablePart(bytes) => {
                let mut out = packet(9);
                out.extend(bytes);
                out
            }
            Self::NoTable(why) => {
                let mut out = packet(10);
                out.push(*why);
                out
            }
        }
    }

    /// The answer in a packet.
    pub fn decode(packet: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { rest: packet };
        let answer = match reader.kind()? {
            1 => Self::Ready { unprivileged: reader.u8()? != 0, filtered: reader.u8()? != 0 },
            2 => {
                Self::Refused { why: String::from_utf8_lossy(reader.bytes(MAX_NAME)?).into_owned() }
            }
            3 => Self::KernelLoaded(KernelText {
                n_symbols: reader.u32()?,
                start: reader.u64()?,
                end: reader.u64()?,
            }),
            4 => Self::Description(reader.description()?),
            5 => {
                let mut lookups = Vec::new();
                while !reader.rest.is_empty() {
                    lookups.push(reader.lookup()?);
                }
                Self::Symbols(lookups)
            }
            6 => Self::Done,
            9 => Self::TablePart(std::mem::take(&mut reader.rest).to_vec()),
            10 => Self::NoTable(reader.u8()?),
            _ => return Err(Malformed("unknown kind of answer")),
        };
        reader.end()?;
        Ok(answer)
    }
}

/// The head of an `Answer::Symbols`, to which `put_lookup` appends.
pub fn symbols_packet() -> Vec<u8> {
    packet(5)
}

/// Appends a lookup to a packet of symbols. One lookup never takes more than half a packet: what does not fit is cut.
pub fn put_lookup(out: &mut Vec<u8>, lookup: &Lookup) {
    let functions = match lookup {
        Lookup::Unknown => return out.push(0),
        Lookup::NoSymbols => return out.push(66),
        Lookup::Hidden => return out.push(67),
        Lookup::Functions(functions) => functions,
    };
    let mut n_functions: u8 = 0;
    let mut body = Vec::new();
    for function in functions.iter().take(MAX_FUNCTIONS) {
        if body.len() > MAX_PACKET / 2 - 2 * MAX_NAME - 16 {
            break;
        }
        put_bytes(&mut body, cut(&function.name));
        put_bytes(&mut body, cut(&function.file));
        put_u32(&mut body, function.line);
        n_functions = n_functions.saturating_add(1);
    }
    out.push(n_functions);
    out.append(&mut body);
}

/// The start of a name that is too long, without half a character at its end.
fn cut(name: &[u8]) -> &[u8] {
    let Some(start) = name.get(..MAX_NAME) else { return name };
    let is_head = |byte: &u8| byte & 0xc0 != 0x80;
    match name.get(MAX_NAME) {
        Some(next) if !is_head(next) => {
            let head = start.iter().rposition(is_head).unwrap_or(start.len());
            start.get(..head).unwrap_or(start)
        }
        _ => start,
    }
}

fn packet(kind: u8) -> Vec<u8> {
    vec![VERSION, kind]
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend(value.to_le_bytes());
}

/// Callers have cut `bytes` to less than 64 KiB.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..usize::from(u16::MAX)).unwrap_or(bytes);
    out.extend((bytes.len() as u16).to_le_bytes());
    out.extend(bytes);
}

fn put_addresses(out: &mut Vec<u8>, addresses: &[u64]) {
    put_u32(out, addresses.len() as u32);
    for address in addresses {
        put_u64(out, *address);
    }
}

fn put_description(out: &mut Vec<u8>, description: &Description) {
    put_bytes(out, &description.build_id);
    put_u32(out, description.segments.len() as u32);
    for segment in &description.segments {
        put_u64(out, segment.offset);
        put_u64(out, segment.address);
        put_u64(out, segment.file_size);
    }
}

/// What is left of a packet.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn kind(&mut self) -> Result<u8, Malformed> {
        if self.u8()? != VERSION {
            return Err(Malformed("another version"));
        }
        self.u8()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Malformed("too short"))?;
        self.rest = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self, cap: usize) -> Result<&'a [u8], Malformed> {
        let len = usize::from(u16::from_le_bytes(self.array()?));
        if len > cap {
            return Err(Malformed("longer than its cap"));
        }
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed("too short"))?;
        self.rest = rest;
        Ok(head)
    }

    fn count(&mut self, cap: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        if count > cap { Err(Malformed("more than its cap")) } else { Ok(count) }
    }

    fn addresses(&mut self) -> Result<Vec<u64>, Malformed> {
        let count = self.count(MAX_ADDRESSES)?;
        (0..count).map(|_| self.u64()).collect()
    }

    fn description(&mut self) -> Result<Result<Description, NoDescription>, Malformed> {
        match self.u8()? {
            0 => {}
            1 => return Ok(Err(NoDescription::Unreadable)),
            2 => return Ok(Err(NoDescription::Malformed)),
            3 => return Ok(Err(NoDescription::TooLarge)),
            _ => return Err(Malformed("unknown reason")),
        }
        let build_id = self.bytes(MAX_BUILD_ID)?.to_vec();
        let count = self.count(MAX_SEGMENTS)?;
        let segment =
            |_| Ok(Segment { offset: self.u64()?, address: self.u64()?, file_size: self.u64()? });
        let segments = (0..count).map(segment).collect::<Result<_, Malformed>>()?;
        Ok(Ok(Description { build_id, segments }))
    }

    fn lookup(&mut self) -> Result<Lookup, Malformed> {
        let n_functions = match self.u8()? {
            0 => return Ok(Lookup::Unknown),
            66 => return Ok(Lookup::NoSymbols),
            67 => return Ok(Lookup::Hidden),
            n_functions if usize::from(n_functions) <= MAX_FUNCTIONS => n_functions,
            _ => return Err(Malformed("unknown kind of lookup")),
        };
        let mut functions = Vec::with_capacity(usize::from(n_functions));
        for _ in 0..n_functions {
            let name = self.bytes(MAX_NAME)?.to_vec();
            if name.is_empty() {
                return Err(Malformed("a function without a name"));
            }
            functions.push(FunctionBytes {
                name,
                file: self.bytes(MAX_NAME)?.to_vec(),
                line: self.u32()?,
            });
        }
        Ok(Lookup::Functions(functions))
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("bytes after the end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Answer, Description, Detail, FunctionBytes, Hello, KernelText, Lookup, MAX_FUNCTIONS,
        MAX_NAME, MAX_PACKET, NoDescription, Request, Segment, put_lookup, symbols_packet,
    };
    use proptest::prelude::{any, proptest};

    fn function(name: &[u8], file: &[u8], line: u32) -> FunctionBytes {
        FunctionBytes { name: name.to_vec(), file: file.to_vec(), line }
    }

    #[test]
    fn requests_come_back_as_they_went() {
        let hello = Hello {
            uid: 65534,
            gid: 3,
            resident_bytes: 1 << 24,
            heap_bytes: 1 << 29,
            debug_bytes: 9,
        };
        for request in [
            Request::Hello(hello),
            Request::Kernel,
            Request::KernelAddresses(vec![u64::MAX, 0]),
            Request::File { id: 7, detail: Detail::Debug, offsets: vec![1, 2, 3] },
            Request::File { id: u32::MAX, detail: Detail::Symbols, offsets: vec![] },
        ] {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
    }

    #[test]
    fn answers_come_back_as_they_went() {
        let segments = vec![Segment { offset: 0x1000, address: 0x2000, file_size: 3 }];
        for answer in [
            Answer::Ready { unprivileged: true, filtered: false },
            Answer::Refused { why: "no".into() },
            Answer::KernelLoaded(KernelText { n_symbols: 1, start: 2, end: 3 }),
            Answer::Description(Err(NoDescription::TooLarge)),
            Answer::Description(Ok(Description { build_id: vec![1, 2], segments })),
            Answer::Symbols(vec![
                Lookup::Unknown,
                Lookup::Functions(vec![function(b"f", b"", 0), function(b"g\xff", b"/a/b.c", 77)]),
                Lookup::NoSymbols,
                Lookup::Hidden,
            ]),
            Answer::Done,
        ] {
            assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn a_lookup_fits_half_a_packet_whatever_its_names() {
        let long = function("ä".repeat(MAX_NAME).as_bytes(), &[b'x'; 10_000], 1);
        let mut out = symbols_packet();
        put_lookup(&mut out, &Lookup::Functions(vec![long; MAX_FUNCTIONS]));
        assert!(out.len() <= MAX_PACKET / 2);
        let Ok(Answer::Symbols(lookups)) = Answer::decode(&out) else { panic!("not decoded") };
        let [Lookup::Functions(functions)] = lookups.as_slice() else { panic!("{lookups:?}") };
        assert!(functions.len() > 2);
        assert!(
            functions
                .iter()
                .all(|f| f.name.len() == MAX_NAME && std::str::from_utf8(&f.name).is_ok())
        );
    }

    #[test]
    fn a_name_is_cut_between_characters() {
        let name = format!("x{}", "ä".repeat(MAX_NAME));
        let mut out = symbols_packet();
        put_lookup(&mut out, &Lookup::Functions(vec![function(name.as_bytes(), b"", 0)]));
        let Ok(Answer::Symbols(lookups)) = Answer::decode(&out) else { panic!("not decoded") };
        let [Lookup::Functions(functions)] = lookups.as_slice() else { panic!("{lookups:?}") };
        assert_eq!(functions.first().map(|function| function.name.len()), Some(MAX_NAME - 1));
    }

    #[test]
    fn an_offset_becomes_the_address_of_its_segment() {
        let segment = |offset, address, file_size| Segment { offset, address, file_size };
        let description = Description {
            build_id: vec![],
            segments: vec![
                segment(0, 0, 0x500),
                segment(0x500, 0x1500, 0x200),
                segment(0x700, u64::MAX, 2),
            ],
        };
        for (offset, address) in [
            (0, Some(0)),
            (0x4ff, Some(0x4ff)),
            (0x500, Some(0x1500)),
            (0x6ff, Some(0x16ff)),
            (0x701, Some(0)),
            (0x702, None),
            (u64::MAX, None),
        ] {
            assert_eq!(description.virtual_address(offset), address, "{offset:#x}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(kind in 0_u8..8, body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut packet = vec![super::VERSION, kind];
            packet.extend(&body);
            if let Ok(answer) = Answer::decode(&packet) {
                assert!(answer.encode().len() <= MAX_PACKET);
            }
            if let Ok(request) = Request::decode(&packet) {
                assert_eq!(Request::decode(&request.encode()).as_ref(), Ok(&request));
            }
        }

        #[test]
        fn a_cut_packet_is_refused(len in 0_usize..47) {
            let packet = Request::File { id: 1, detail: Detail::Debug, offsets: vec![1; 5] }.encode();
            assert_eq!(packet.len(), 51);
            assert!(Request::decode(packet.get(..len).unwrap()).is_err());
        }
    }
}
