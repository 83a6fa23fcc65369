//! Requests and answers in; their packets out, and back.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::{
    AltLink, Answer, DebugLink, Demangle, Description, Detail, FunctionBytes, Hello, KernelText,
    Links, Lookup, MAX_ADDRESSES, MAX_BUILD_ID, MAX_FUNCTIONS, MAX_LINK, MAX_NAME, MAX_PACKET,
    MAX_SEGMENTS, MAX_SPLIT_WANTED, Malformed, NoDescription, Request, Role, Segment, SplitPath,
    VERSION,
};

impl Request {
    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(Hello { uid, gid, resident_bytes, heap_bytes, debug_bytes, demangle }) => {
                let mut out = packet(1);
                put_u32(&mut out, *uid);
                put_u32(&mut out, *gid);
                put_u64(&mut out, *resident_bytes);
                put_u64(&mut out, *heap_bytes);
                put_u64(&mut out, *debug_bytes);
                out.push(*demangle as u8);
                out
            }
            Self::Kernel => packet(2),
            Self::KernelAddresses(addresses) => addresses_packet(3, addresses),
            Self::File { id, detail, budget_ms, offsets } => {
                let mut out = packet(4);
                put_u32(&mut out, *id);
                out.push(*detail as u8);
                put_u32(&mut out, *budget_ms);
                put_addresses(&mut out, offsets);
                out
            }
            Self::Attach { id, role } => {
                let mut out = packet(5);
                put_u32(&mut out, *id);
                out.push(role.bit());
                put_u64(&mut out, if let Role::Split(unit) = role { *unit } else { 0 });
                out
            }
            Self::PerfMap(addresses) => addresses_packet(6, addresses),
            Self::JitDump(addresses) => addresses_packet(7, addresses),
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
                demangle: match reader.u8()? {
                    0 => Demangle::Full,
                    1 => Demangle::Templates,
                    2 => Demangle::Simplified,
                    _ => Demangle::None,
                },
            }),
            2 => Self::Kernel,
            3 => Self::KernelAddresses(reader.addresses()?),
            4 => Self::File {
                id: reader.u32()?,
                detail: if reader.u8()? == 0 { Detail::Symbols } else { Detail::Debug },
                budget_ms: reader.u32()?,
                offsets: reader.addresses()?,
            },
            5 => Self::Attach { id: reader.u32()?, role: reader.role()? },
            6 => Self::PerfMap(reader.addresses()?),
            7 => Self::JitDump(reader.addresses()?),
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
            Self::Links { links, attached } => {
                let mut out = packet(7);
                put_links(&mut out, links);
                out.push(*attached);
                out
            }
            Self::SplitWanted(wanted) => {
                let mut out = packet(8);
                put_u32(&mut out, wanted.len().min(MAX_SPLIT_WANTED) as u32);
                for split in wanted.iter().take(MAX_SPLIT_WANTED) {
                    put_bytes(&mut out, cut(&split.path));
                    put_u64(&mut out, split.id);
                }
                out
            }
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
            Self::Attached(links) => {
                let mut out = packet(11);
                out.push(links.is_some().into());
                put_links(&mut out, links.as_ref().unwrap_or(&Links::default()));
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
            7 => Self::Links { links: reader.links()?, attached: reader.u8()? },
            8 => {
                let count = reader.count(MAX_SPLIT_WANTED)?;
                let split =
                    |_| Ok(SplitPath { path: reader.bytes(MAX_NAME)?.to_vec(), id: reader.u64()? });
                Self::SplitWanted((0..count).map(split).collect::<Result<_, Malformed>>()?)
            }
            9 => Self::TablePart(std::mem::take(&mut reader.rest).to_vec()),
            10 => Self::NoTable(reader.u8()?),
            11 => {
                let is_right = reader.u8()? != 0;
                Self::Attached(Some(reader.links()?).filter(|_| is_right))
            }
            _ => return Err(Malformed("unknown kind of answer")),
        };
        reader.end()?;
        Ok(answer)
    }
}

/// Added to the number of functions of a `Lookup::Provisional`.
const PROVISIONAL: u8 = 0x80;

/// The head of an `Answer::Symbols`, to which `put_lookup` appends.
pub fn symbols_packet() -> Vec<u8> {
    packet(5)
}

/// Appends a lookup to a packet of symbols. One lookup never takes more than half a packet: what does not fit is cut.
pub fn put_lookup(out: &mut Vec<u8>, lookup: &Lookup) {
    let (functions, mark) = match lookup {
        Lookup::Unknown => return out.push(0),
        Lookup::NoSymbols => return out.push(66),
        Lookup::Hidden => return out.push(67),
        Lookup::Later => return out.push(68),
        Lookup::Functions(functions) => (functions, 0),
        Lookup::Provisional(functions) => (functions, PROVISIONAL),
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
    out.push(n_functions | mark);
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

fn addresses_packet(kind: u8, addresses: &[u64]) -> Vec<u8> {
    let mut out = packet(kind);
    put_addresses(&mut out, addresses);
    out
}

fn put_links(out: &mut Vec<u8>, links: &Links) {
    let Links { has_debug, has_symbols, is_split, debug_link, alt_link } = links;
    out.extend([*has_debug, *has_symbols, *is_split].map(u8::from));
    let debug_link = debug_link.as_ref();
    put_bytes(out, debug_link.map_or(&[], |link| &link.name));
    put_u32(out, debug_link.map_or(0, |link| link.checksum));
    let alt_link = alt_link.as_ref();
    put_bytes(out, alt_link.map_or(&[], |link| &link.path));
    put_bytes(out, alt_link.map_or(&[], |link| &link.id));
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

    fn role(&mut self) -> Result<Role, Malformed> {
        let (bit, unit) = (self.u8()?, self.u64()?);
        [Role::Debug, Role::Supplementary, Role::Package, Role::Split(unit)]
            .into_iter()
            .find(|role| role.bit() == bit)
            .ok_or(Malformed("unknown role"))
    }

    /// A name that is empty stands for none.
    fn links(&mut self) -> Result<Links, Malformed> {
        let mut flag = || Ok(self.u8()? != 0);
        let (has_debug, has_symbols, is_split) = (flag()?, flag()?, flag()?);
        let debug_link = DebugLink { name: self.bytes(MAX_LINK)?.to_vec(), checksum: self.u32()? };
        let alt_link = AltLink {
            path: self.bytes(MAX_LINK)?.to_vec(),
            id: self.bytes(MAX_BUILD_ID)?.to_vec(),
        };
        let debug_link = Some(debug_link).filter(|link| !link.name.is_empty());
        let alt_link = Some(alt_link).filter(|link| !link.path.is_empty());
        Ok(Links { has_debug, has_symbols, is_split, debug_link, alt_link })
    }

    fn lookup(&mut self) -> Result<Lookup, Malformed> {
        let head = self.u8()?;
        let n_functions = match head & !PROVISIONAL {
            0 => return Ok(Lookup::Unknown),
            66 => return Ok(Lookup::NoSymbols),
            67 => return Ok(Lookup::Hidden),
            68 => return Ok(Lookup::Later),
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
        let is_provisional = head & PROVISIONAL != 0;
        Ok(if is_provisional {
            Lookup::Provisional(functions)
        } else {
            Lookup::Functions(functions)
        })
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("bytes after the end")) }
    }
}

#[cfg(test)]
mod tests {
    use crate::symbolize::wire::{
        AltLink, Answer, DebugLink, Demangle, Description, Detail, FunctionBytes, Hello,
        KernelText, Links, Lookup, MAX_FUNCTIONS, MAX_NAME, MAX_PACKET, NoDescription, Request,
        Role, Segment, SplitPath, VERSION, put_lookup, symbols_packet,
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
            demangle: Demangle::Simplified,
        };
        for request in [
            Request::Hello(hello),
            Request::Kernel,
            Request::KernelAddresses(vec![u64::MAX, 0]),
            Request::File { id: 7, detail: Detail::Debug, budget_ms: 9, offsets: vec![1, 2, 3] },
            Request::File { id: u32::MAX, detail: Detail::Symbols, budget_ms: 0, offsets: vec![] },
            Request::Attach { id: 1, role: Role::Debug },
            Request::Attach { id: 2, role: Role::Split(u64::MAX) },
            Request::PerfMap(vec![7]),
            Request::JitDump(vec![]),
        ] {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
    }

    #[test]
    fn answers_come_back_as_they_went() {
        let segments = vec![Segment { offset: 0x1000, address: 0x2000, file_size: 3 }];
        let links = Links {
            has_debug: true,
            has_symbols: false,
            is_split: true,
            debug_link: Some(DebugLink { name: b"a.debug".to_vec(), checksum: u32::MAX }),
            alt_link: Some(AltLink { path: b"../x".to_vec(), id: vec![1; 20] }),
        };
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
                Lookup::Provisional(vec![function(b"h", b"", 0)]),
                Lookup::Later,
            ]),
            Answer::Done,
            Answer::Links { links: links.clone(), attached: 9 },
            Answer::Links { links: Links::default(), attached: 0 },
            Answer::Attached(Some(links)),
            Answer::Attached(None),
            Answer::SplitWanted(vec![SplitPath { path: b"/a.dwo".to_vec(), id: u64::MAX }]),
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
        fn any_bytes_decode_or_are_refused(kind in 0_u8..13, body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut packet = vec![VERSION, kind];
            packet.extend(&body);
            if let Ok(answer) = Answer::decode(&packet) {
                assert!(answer.encode().len() <= MAX_PACKET);
            }
            if let Ok(request) = Request::decode(&packet) {
                assert_eq!(Request::decode(&request.encode()).as_ref(), Ok(&request));
            }
        }

        #[test]
        fn a_cut_packet_is_refused(len in 0_usize..51) {
            let file = Request::File { id: 1, detail: Detail::Debug, budget_ms: 1, offsets: vec![1; 5] };
            let packet = file.encode();
            assert_eq!(packet.len(), 55);
            assert!(Request::decode(packet.get(..len).unwrap()).is_err());
        }
    }
}
