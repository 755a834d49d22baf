import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import java.util.SplittableRandom;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.Writable;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.RawTaggedField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;

/**
 * Writes what Kafka's own message classes make of some values, for every version: the golden bytes.
 *
 * Standard input has lines of {@code name class}, standard output gets lines of
 * {@code name version variant hex}. The variants:
 *
 *   full   every field differs from its default, arrays have two elements, every struct has unknown tags
 *   null   the same with null wherever null is allowed, one element, no unknown tags
 *   empty  empty strings, bytes and arrays, never null where that can be avoided; numbers differ
 *   plain  a new object
 *   stored as "full", in the form it has in an internal topic (records only)
 *
 * The class of error codes is answered by lines of {@code ErrorCode code retriable-or-final name}, the class
 * of API keys by lines of {@code API version stable-or-draft header-versions}: one byte for the request's
 * header, one for the response's.
 *
 * Values depend on the field's path and the variant only, so that the output is the same every time.
 */
public class Goldens {
    enum Variant { FULL, NULL, EMPTY, PLAIN }

    public static void main(String[] arguments) throws Exception {
        Scanner input = new Scanner(System.in, StandardCharsets.UTF_8);
        StringBuilder out = new StringBuilder();
        while (input.hasNext()) {
            String name = input.next();
            Class<?> type = Class.forName(input.next());
            if (type == Errors.class) {
                errors(out);
                continue;
            }
            if (type == ApiMessageType.class) {
                headers(out);
                continue;
            }
            Message probe = (Message) create(type);
            for (short version = probe.lowestSupportedVersion(); version <= probe.highestSupportedVersion(); version++) {
                for (Variant variant : Variant.values()) {
                    Message message = (Message) create(type);
                    new Goldens(version, variant).fill(message, name);
                    line(out, name, version, variant.name().toLowerCase(), bytes(message, version));
                    if (variant == Variant.FULL && !type.getPackageName().equals("org.apache.kafka.common.message")) {
                        line(out, name, version, "stored", stored((ApiMessage) message, version));
                    }
                }
            }
        }
        System.out.write(out.toString().getBytes(StandardCharsets.US_ASCII));
        System.out.flush();
    }

    private static void line(StringBuilder out, String name, int version, String variant, byte[] bytes) {
        out.append(name).append(' ').append(version).append(' ').append(variant).append(' ')
            .append(HexFormat.of().formatHex(bytes)).append('\n');
    }

    private static void errors(StringBuilder out) {
        for (Errors error : Errors.values()) {
            String variant = error.exception() instanceof RetriableException ? "retriable" : "final";
            line(out, "ErrorCode", error.code(), variant, error.name().getBytes(StandardCharsets.US_ASCII));
        }
    }

    private static void headers(StringBuilder out) {
        for (ApiMessageType api : ApiMessageType.values()) {
            for (short version = api.lowestSupportedVersion(); version <= api.highestSupportedVersion(true); version++) {
                String variant = version <= api.highestSupportedVersion(false) ? "stable" : "draft";
                byte[] versions = {(byte) api.requestHeaderVersion(version), (byte) api.responseHeaderVersion(version)};
                line(out, api.name, version, variant, versions);
            }
        }
    }

    /** A record as it lies in its topic: with what tells type and version in front. */
    private static byte[] stored(ApiMessage message, short version) throws Exception {
        if (message.getClass().getPackageName().equals("org.apache.kafka.common.metadata")) {
            return metadata(message, version);
        }
        ByteBuffer buffer = message.getClass().getSimpleName().endsWith("Key")
            ? MessageUtil.toCoordinatorTypePrefixedByteBuffer(message)
            : MessageUtil.toVersionPrefixedByteBuffer(version, message);
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes;
    }

    /** By name, since its class is not there when the APIs are written. */
    private static byte[] metadata(ApiMessage message, short version) throws Exception {
        Object serde = create(Class.forName("org.apache.kafka.metadata.MetadataRecordSerde"));
        Class<?> pair = Class.forName("org.apache.kafka.server.common.ApiMessageAndVersion");
        Object record = pair.getConstructor(ApiMessage.class, short.class).newInstance(message, version);
        ObjectSerializationCache cache = new ObjectSerializationCache();
        int size = (Integer) serde.getClass()
            .getMethod("recordSize", pair, ObjectSerializationCache.class)
            .invoke(serde, record, cache);
        ByteBuffer buffer = ByteBuffer.allocate(size);
        serde.getClass()
            .getMethod("write", pair, ObjectSerializationCache.class, Writable.class)
            .invoke(serde, record, cache, new ByteBufferAccessor(buffer));
        return buffer.array();
    }

    private static byte[] bytes(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        if (buffer.hasRemaining()) {
            throw new IllegalStateException(message.getClass() + " wrote less than its size");
        }
        return buffer.array();
    }

    private final short version;
    private final Variant variant;

    private Goldens(short version, Variant variant) {
        this.version = version;
        this.variant = variant;
    }

    private void fill(Object message, String path) throws Exception {
        Schema schema = ((Schema[]) message.getClass().getField("SCHEMAS").get(null))[version];
        Object fresh = create(message.getClass());
        for (BoundField bound : schema.fields()) {
            if (bound.def.type instanceof TaggedFields tagged) {
                for (Map.Entry<?, ?> entry : tagged.fields().entrySet()) {
                    set(message, fresh, (org.apache.kafka.common.protocol.types.Field) entry.getValue(), path);
                }
                if (variant == Variant.FULL) {
                    fillUnknownTags((Message) message, path);
                }
            } else {
                set(message, fresh, bound.def, path);
            }
        }
    }

    private void fillUnknownTags(Message message, String path) {
        message.unknownTaggedFields().add(new RawTaggedField(60, path.getBytes(StandardCharsets.UTF_8)));
        if (path.indexOf('.') < 0) {
            message.unknownTaggedFields().add(new RawTaggedField(70000, new byte[0]));
        }
    }

    private void set(
        Object message,
        Object fresh,
        org.apache.kafka.common.protocol.types.Field definition,
        String path
    ) throws Exception {
        Field field = field(message.getClass(), definition.name);
        Object initial = field.get(fresh);
        boolean nullable = definition.type.isNullable();
        if (variant == Variant.PLAIN && (initial != null || nullable)) {
            return;
        }
        Object value = variant == Variant.NULL && nullable
            ? null
            : value(field.getType(), field.getGenericType(), definition, initial, path + "." + definition.name);
        field.set(message, value);
    }

    private Object value(
        Class<?> type,
        Type generic,
        org.apache.kafka.common.protocol.types.Field definition,
        Object initial,
        String path
    ) throws Exception {
        SplittableRandom random = new SplittableRandom(path.hashCode() * 31L + variant.ordinal());
        boolean empty = variant == Variant.EMPTY || variant == Variant.PLAIN;
        if (Collection.class.isAssignableFrom(type)) {
            Class<?> element = element(type, generic);
            @SuppressWarnings("unchecked")
            Collection<Object> collection =
                type == List.class ? new ArrayList<>() : (Collection<Object>) create(type);
            for (int i = 0; i < (empty ? 0 : variant == Variant.FULL ? 2 : 1); i++) {
                collection.add(value(element, element, definition, null, path + "." + i));
            }
            return collection;
        }
        if (Message.class.isAssignableFrom(type)) {
            Object nested = create(type);
            fill(nested, path);
            return nested;
        }
        if (type == String.class) {
            return empty ? "" : text(random);
        }
        if (type == byte[].class) {
            return content(random, empty);
        }
        if (type == ByteBuffer.class) {
            return ByteBuffer.wrap(content(random, empty));
        }
        if (type.getSimpleName().equals("BaseRecords")) {
            return records(type, ByteBuffer.wrap(content(random, empty)));
        }
        if (type == Uuid.class) {
            return new Uuid(random.nextLong() | 1, random.nextLong());
        }
        if (type == boolean.class) {
            return !(Boolean) initial;
        }
        return number(type, definition, initial, random);
    }

    private static Object number(
        Class<?> type,
        org.apache.kafka.common.protocol.types.Field definition,
        Object initial,
        SplittableRandom random
    ) {
        while (true) {
            long bits = random.nextLong();
            Object value;
            if (type == byte.class || type == Byte.class) {
                value = (byte) bits;
            } else if (type == short.class || type == Short.class) {
                value = (short) bits;
            } else if (definition.type == org.apache.kafka.common.protocol.types.Type.UINT16) {
                value = (int) (bits & 0xffff);
            } else if (type == int.class || type == Integer.class) {
                value = (int) bits;
            } else if (type == long.class || type == Long.class) {
                value = bits;
            } else if (type == double.class) {
                value = (double) bits / 1024;
            } else {
                throw new IllegalStateException(definition.name + " has type " + type);
            }
            if (((Number) value).doubleValue() != 0 && !value.equals(initial)) {
                return value;
            }
        }
    }

    /** Characters of two, three and four bytes in UTF-8. */
    private static final String[] WIDE = {"\u00e4", "\u20ac", "\ud834\udd1e"};

    /** Mostly short; some with more than 127 bytes, whose compact length takes two bytes; not only ASCII. */
    private static String text(SplittableRandom random) {
        int length = random.nextInt(8) == 0 ? 130 : 1 + random.nextInt(8);
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < length; i++) {
            if (random.nextInt(16) == 0) {
                text.append(WIDE[random.nextInt(WIDE.length)]);
            } else {
                text.append((char) ('a' + random.nextInt(26)));
            }
        }
        return text.toString();
    }

    /** Mostly short; some longer than what a writer would copy. */
    private static byte[] content(SplittableRandom random, boolean empty) {
        byte[] content = new byte[empty ? 0 : random.nextInt(4) == 0 ? 600 : 1 + random.nextInt(16)];
        byte start = (byte) random.nextInt(256);
        for (int i = 0; i < content.length; i++) {
            content[i] = (byte) (start + i);
        }
        return content;
    }

    private static Object records(Class<?> base, ByteBuffer content) throws Exception {
        Class<?> type = Class.forName(base.getPackageName() + ".MemoryRecords");
        Method method = type.getMethod("readableRecords", ByteBuffer.class);
        return method.invoke(null, content);
    }

    private static Class<?> element(Class<?> type, Type generic) {
        Type of = type == List.class ? generic : type.getGenericSuperclass();
        return (Class<?>) ((ParameterizedType) of).getActualTypeArguments()[0];
    }

    private static Field field(Class<?> type, String name) {
        String wanted = name.replace("_", "");
        for (Field field : type.getDeclaredFields()) {
            if (!Modifier.isStatic(field.getModifiers()) && field.getName().equalsIgnoreCase(wanted)) {
                field.setAccessible(true);
                return field;
            }
        }
        throw new IllegalStateException(type + " has no field " + name);
    }

    private static Object create(Class<?> type) throws Exception {
        return type.getConstructor().newInstance();
    }
}
